"""How soon an apiserver whose old connections to etcd are sick writes again: cut by the runbook, or killed and started.

The ground is that of drills/cure.py. Nobody does anything: from the fault's begin on the exporter names it, Prometheus
fires, and the remediator cuts. Beside it the restart: the apiserver is killed as soon as the verdict is told, and is
started at once.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from drills import cure
from drills.cure import CUT, Ground
from drills.relay import Fault, Mode
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig

BACK_SECONDS: Final = 30.0
"""The target for the cut."""
INTERVAL: Final = "5s"
GIVES_UP_SECONDS, WRITE_SECONDS, PAGE_SECONDS = 180.0, 1.0, 30.0
EVERY_SECONDS: Final = 0.2
SETTLED_WRITES: Final = 25
"""So many in a row without a failure: it is not back for a moment only."""
PATH: Final = "/api/v1/namespaces/default/configmaps"
RELISTS: Final = "apiserver_watch_cache_initializations_total"
"""Each time that a cache of the apiserver is filled by a list."""
CURES: Final = ("cut by the runbook", "killed and started")
SUCCEEDED: Final = "succeeded"


class Cured(msgspec.Struct, frozen=True):
    """``back`` is seconds from the fault's begin until a write through that apiserver worked and went on working."""

    cure: str
    back: float | None
    failed: int
    """Writes that failed."""
    relists: int | None
    """None where the apiserver does not tell."""
    ended: str = ""
    """How the runbook's runs ended, in words."""
    code: str = ""

    @property
    def misses(self) -> tuple[str, ...]:
        """What does not hold; the restart is there to be compared with."""
        if self.cure != CURES[0]:
            return ()
        return tuple(
            word
            for word, holds in (
                ("no writes in time", self.back is not None and self.back <= BACK_SECONDS),
                (f"{'unknown' if self.relists is None else self.relists} relists", self.relists == 0),
                (f"the runbook: {self.ended or 'no run'}", self.ended == SUCCEEDED),
            )
            if not holds
        )


class Writer:
    """Writes through the sick apiserver, again and again, and notes when it works."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self.answers: list[tuple[float, bool]] = []
        """When each began, by the monotonic clock, and whether it worked."""

    def write(self, stop: threading.Event) -> None:
        began = time.monotonic()
        body = json.dumps({"data": {"at": str(began)}}).encode()
        kind = "application/merge-patch+json"
        try:
            answer = self._http.request("PATCH", f"{PATH}/cured", timeout=WRITE_SECONDS, body=body, content_type=kind)
            worked = answer.status == 200
        except ClientError:
            worked = False
        self.answers.append((began, worked))
        stop.wait(EVERY_SECONDS)

    def back_since(self) -> float | None:
        """When the writes that work now began to, None while too few have."""
        answers = list(self.answers)
        last = max((number for number, (_, worked) in enumerate(answers) if not worked), default=-1)
        return answers[last + 1][0] if len(answers) - last > SETTLED_WRITES else None


def measure(name: str) -> Cured:
    """One cure, on a ground of its own: the remediator leaves five minutes between two."""
    cut = name == CURES[0]
    with cure.running(runbooks=(CUT,) if cut else (), interval=INTERVAL) as ground:
        http = HttpClient(HttpConfig(url=ground.sick.url, tls=ground.files))
        item = {"metadata": {"name": "cured"}}
        http.request("POST", PATH, timeout=PAGE_SECONDS, body=json.dumps(item).encode())
        _until(lambda: _told(ground) == Verdict.OK)
        writer = Writer(http)
        with _going_on(writer.write):
            _until(lambda: writer.back_since() is not None)
            before, began = _relists(http), time.monotonic()
            ground.set(Fault(Mode.MUTE, only_old=True))
            _until(lambda: not writer.answers[-1][1])
            if not cut:
                _until(lambda: _told(ground) == Verdict.CHANNEL_STALLED)
                ground.sick.process.kill()
                ground.sick.process.restart()
                before = 0.0  # the process counts anew
            _within(lambda: writer.back_since() is not None)
            back = writer.back_since()
        failed = sum(not worked for at, worked in writer.answers if at >= began)
        relists = None
        with suppress(ClientError):  # it is not back
            relists = round(_relists(http) - before)
        ended = _ended(ground) if cut else ""
    return Cured(name, None if back is None else back - began, failed, relists, ended)


def _ended(ground: Ground) -> str:
    """`SUCCEEDED` as soon as one run of the runbook has; else what became of them, newest first."""

    def states() -> list[str]:
        return [run.state for run in ground.ctl().runs(limit=20, timeout=PAGE_SECONDS) if run.runbook == CUT]

    return SUCCEEDED if _within(lambda: SUCCEEDED in states()) else ", ".join(states())


@contextmanager
def _going_on(act: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            act(stop)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _until(holds: Callable[[], bool]) -> None:
    if not _within(holds):
        raise SystemExit(f"not so within {GIVES_UP_SECONDS:g} s")


def _within(holds: Callable[[], bool]) -> bool:
    """Whether it came to hold before `GIVES_UP_SECONDS` were over."""
    deadline = time.monotonic() + GIVES_UP_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(EVERY_SECONDS)
    return True


def _told(ground: Ground) -> str | None:
    """The verdict on the sick apiserver, as Prometheus has it."""
    wanted = f'ballast_grpc_stall_verdict{{apiserver="{ground.name}"}} == 1'
    found = Prometheus(HttpConfig(url=ground.prometheus.url)).query(wanted, timeout=PAGE_SECONDS)
    return found[0].labels["verdict"] if found else None


def _relists(http: HttpClient) -> float:
    found: list[Sample] = []
    page = Filter((RELISTS,), found.append)
    http.get("/metrics", timeout=PAGE_SECONDS, consume=page.feed)
    page.close()
    return sum(each.value for each in found)


def table(rows: Sequence[Cured]) -> str:
    """All of them in Markdown."""
    lines = ["| cure | times | writes work again after, each time | writes that failed, at most | relists, at most |"]
    lines.append("|---|---|---|---|---|")
    for name in CURES:
        made = [row for row in rows if row.cure == name]
        if made:
            back = ", ".join("never" if row.back is None else f"{row.back:.1f} s" for row in made)
            failed = max(row.failed for row in made)
            relists = max((row.relists for row in made if row.relists is not None), default="unknown")
            lines.append(f"| {name} | {len(made)} | {back} | {failed} | {relists} |")
    return "\n".join(lines)
