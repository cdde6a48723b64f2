"""Makes one probe again and again, and takes down what came of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ballast_exporter.contract import Kind, RequestCounter
from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import FAILURES, Answer
from kube_ballast.clients.errors import ClientError, Denied, Timeout
from kube_ballast.clients.kubernetes import TooManyRequests

AGAIN_SECONDS: Final = 0.2
"""Before the second try: two failures in a row come within seconds."""
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

    It waits for ``first`` seconds at first.
    """

    subject: str
    name: str
    ask: Ask
    pace: Pace
    kind: Kind
    target: str
    first: float = 0.0


class Asker:
    """Asks, counts and remembers. Thread safe."""

    def __init__(self, history: History, requests: RequestCounter) -> None:
        self._history = history
        self._requests = requests

    def start(self, probe: Probe, stop: threading.Event) -> None:
        """Make the probe on a thread of its own until ``stop`` is set."""
        name = f"{probe.name} {probe.subject}"
        threading.Thread(target=self._repeat, args=(probe, stop), name=name, daemon=True).start()

    def _repeat(self, probe: Probe, stop: threading.Event) -> None:
        failures, pace = 0, probe.pace
        stop.wait(probe.first)
        while not stop.is_set():
            began = time.monotonic()
            failures = 0 if self.once(probe) else failures + 1
            # Only what is not confirmed yet is asked again at once: a server that is down is not to be hammered.
            unconfirmed = 0 < failures < FAILURES
            stop.wait(AGAIN_SECONDS if unconfirmed else max(AGAIN_SECONDS, began + pace.every - time.monotonic()))

    def once(self, probe: Probe) -> bool:
        """Whether it was answered, and well."""
        self._requests.count(probe.kind, probe.target)
        began, slow = time.monotonic(), probe.pace.slow
        answer, said = Answer.OK, ""
        try:
            probe.ask(probe.pace.deadline)
            if slow is not None and time.monotonic() - began > slow:
                answer = Answer.SLOW
        except ClientError as error:
            answer, said = answered(error), error.message
        self._history.add(probe.subject, probe.name, began, answer, said)
        return answer is Answer.OK


def answered(error: ClientError) -> Answer:
    """What an error says of the way to etcd."""
    if isinstance(error, TooManyRequests):
        return Answer.REJECTED
    if isinstance(error, Denied):
        return Answer.DENIED
    if "refused" in error.message.lower():
        return Answer.REFUSED
    if isinstance(error, Timeout) or "No route to host" in error.message:
        return Answer.TIMEOUT
    return Answer.ERROR
