"""Makes one probe again and again, and takes down what came of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Final

from ballast_exporter.contract import Kind, RequestCounter
from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import FAILURES, FAILURES_IN_DOUBT, STUCK, Answer
from kube_ballast.clients.errors import ClientError, Denied, Timeout
from kube_ballast.clients.kubernetes import TooManyRequests

AGAIN_SECONDS: Final = 0.3
"""Before what is not certain yet is tried again: failures in a row come within seconds."""
HURRIED_SECONDS: Final = 0.1
"""Between two times at least, also where many are in doubt at once."""
COMPARED_SECONDS: Final = 30.0
"""Between two comparisons of one subject once it is certain that it fails: it may do so for hours."""
Ask = Callable[[float], object]
"""Asks within so many seconds. Raises ClientError."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a probe is made and how long it may take, in seconds; later than ``slow`` is late."""

    every: float
    deadline: float
    slow: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of whom. ``kind`` and ``target`` are what its requests are counted under.

    It waits for ``first`` seconds at first. ``compare`` has others asked at once, to tell whose fault a failure is:
    it is called after the first one, and while it is tried again. ``reaches`` is whether it is about the way to the
    subject; of every other probe, what could not even be sent is counted and is no answer.
    """

    subject: str
    name: str
    ask: Ask
    pace: Pace
    kind: Kind
    target: str
    first: float = 0.0
    compare: Callable[[], None] = lambda: None
    reaches: bool = True


class Asker:
    """Asks, counts and remembers. Thread safe."""

    def __init__(self, history: History, requests: RequestCounter) -> None:
        self._history = history
        self._requests = requests
        self._hurried: dict[tuple[str, str], Event] = {}
        self._compared: dict[str, float] = {}
        """When others were asked for the sake of a subject."""

    def start(self, probe: Probe, stop: threading.Event) -> None:
        """Make the probe on a thread of its own until ``stop`` is set; that ends in its turn, and asks nothing then."""
        hurried = self._hurried[probe.subject, probe.name] = Event()
        name = f"{probe.name} {probe.subject}"
        threading.Thread(target=self._repeat, args=(probe, hurried, stop), name=name, daemon=True).start()

    def hurry(self, subject: str, probe: str) -> None:
        """Have it made now, where it waits for its turn."""
        if hurried := self._hurried.get((subject, probe)):
            hurried.set()

    def _repeat(self, probe: Probe, hurried: Event, stop: threading.Event) -> None:
        stuck = 0
        stop.wait(probe.first)
        while not stop.is_set():
            hurried.clear()
            began = time.monotonic()
            answer, failures = self.once(probe, compare=self._compares(probe, stuck))
            if failures == 1 and answer in STUCK:
                probe.compare()
            # Only what is not certain yet is asked again soon: a server that is down is not to be hammered.
            late = answer in (*STUCK, Answer.SLOW)
            again = failures is None or 0 < failures < (FAILURES_IN_DOUBT if late else FAILURES)
            stuck = (failures or 0) if answer in STUCK else 0
            # As if each took all of its time: what fails at once may do so four times in a moment.
            period = (probe.pace.deadline + AGAIN_SECONDS if late else 0.0) if again else probe.pace.every
            hurried.wait(max(AGAIN_SECONDS, began + period - time.monotonic()))
            stop.wait(max(0.0, began + HURRIED_SECONDS - time.monotonic()))

    def _compares(self, probe: Probe, failures: int) -> bool:
        """Whether others are to be asked while a probe is tried again that failed so often in a row."""
        now = time.monotonic()
        rests = now - self._compared.get(probe.subject, float("-inf")) < COMPARED_SECONDS
        if not failures or (failures >= FAILURES_IN_DOUBT and rests):
            return False
        self._compared[probe.subject] = now
        return True

    def once(self, probe: Probe, *, compare: bool = False) -> tuple[Answer, int | None]:
        """How it was answered, and how often in a row it has failed so; None where that was no answer.

        With ``compare`` others are asked while it is under way.
        """
        self._requests.count(probe.kind, probe.target)
        began, slow = time.monotonic(), probe.pace.slow
        answer, said = Answer.OK, ""
        if compare:
            probe.compare()
        try:
            probe.ask(probe.pace.deadline)
            if slow is not None and time.monotonic() - began > slow:
                answer = Answer.SLOW
        except ClientError as error:
            answer, said = answered(error), error.message
            if error.unsent and answer in STUCK and not probe.reaches:
                self._history.count(probe.subject, probe.name, answer)
                return answer, None
        return answer, self._history.add(probe.subject, probe.name, began, answer, said)


def answered(error: ClientError) -> Answer:
    """What an error says of the way to etcd."""
    if isinstance(error, TooManyRequests):
        return Answer.REJECTED
    if isinstance(error, Denied):
        return Answer.DENIED
    # An answer may quote that somebody else was refused, such as the apiserver by a webhook.
    if error.__cause__ is not None and "refused" in error.message.lower():
        return Answer.REFUSED
    if isinstance(error, Timeout) or "No route to host" in error.message:
        return Answer.TIMEOUT
    return Answer.ERROR
