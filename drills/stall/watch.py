"""What is told of the two apiservers, second by second, and what of it counts."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from drills.stall.ground import Ground
from drills.stall.rows import WELL_SECONDS
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig

KIND: Final = "grpc_stall"
ASK_SECONDS: Final = 1.0
EVERY_SECONDS, ALERTS_EVERY_SECONDS = 0.1, 0.4
BLAMELESS: Final = frozenset({Verdict.OK, Verdict.UNKNOWN})
ALERTS: Final[Mapping[Verdict, str]] = {
    Verdict.CHANNEL_STALLED: "ApiserverChannelStalled",
    Verdict.WATCH_STALE: "ApiserverWatchStale",
    Verdict.UNREACHABLE: "ApiserverUnreachable",
    Verdict.DOWN: "ApiserverDown",
    Verdict.OVERLOADED: "ApiserverOverloaded",
    Verdict.ETCD_MEMBER_BAD: "EtcdMemberBad",
    Verdict.ETCD_DOWN: "EtcdDown",
    Verdict.ETCD_SLOW: "EtcdSlow",
}
"""The page of each verdict that blames somebody."""


class Told(msgspec.Struct, frozen=True):
    """One entry of `/evidence`."""

    kind: str
    subject: str
    verdict: Verdict
    reasons: tuple[str, ...]


Verdicts = tuple[Verdict | None, Verdict | None]
"""Of the first apiserver and the other; None where nothing valid is told."""
Firing = frozenset[tuple[str, str]]
"""Pages, as name and apiserver."""


class Watcher:
    """Asks the exporter's `/evidence` and Alertmanager."""

    def __init__(self, ground: Ground) -> None:
        self._names = ground.names
        self._exporter = HttpClient(HttpConfig(url=ground.exporter.url))
        self._alertmanager = Alertmanager(HttpConfig(url=ground.alertmanager.url))
        self._asked = 0.0
        self._firing: Firing = frozenset()
        self.reasons: Mapping[str, tuple[str, ...]] = {}
        """By apiserver, what was told last."""

    def verdicts(self) -> Verdicts:
        """As of now."""
        try:
            answer = self._exporter.get("/evidence", timeout=ASK_SECONDS)
            told = msgspec.json.decode(answer.body, type=list[Told]) if answer.status == 200 else []
        except ClientError:
            told = []
        mine = {each.subject: each for each in told if each.kind == KIND}
        self.reasons = {name: each.reasons for name, each in mine.items()}
        first, second = (mine[name].verdict if name in mine else None for name in self._names)
        return first, second

    def firing(self) -> Firing:
        """The pages on verdicts that Alertmanager holds, as name and apiserver; asked twice a second at most."""
        if time.monotonic() - self._asked >= ALERTS_EVERY_SECONDS:
            try:
                alerts = self._alertmanager.alerts(timeout=ASK_SECONDS)
            except ClientError:  # as before: what fires goes on firing
                return self._firing
            named = ((each.labels["alertname"], each.labels.get("apiserver", "")) for each in alerts)
            self._firing = frozenset(each for each in named if each[0] in ALERTS.values())
            self._asked = time.monotonic()
        return self._firing

    def well_within(
        self, seconds: float, meanwhile: Callable[[Verdicts, Firing], None] = lambda *_: None
    ) -> float | None:
        """How long it took until both are `ok` and nobody is paged, None when it took longer.

        What is told until then is given to ``meanwhile``.
        """
        began = time.monotonic()
        while True:
            verdicts, firing = self.verdicts(), self.firing()
            lasted = time.monotonic() - began
            if verdicts == (Verdict.OK, Verdict.OK) and not firing:
                return lasted
            if lasted > seconds:
                return None
            meanwhile(verdicts, firing)
            time.sleep(EVERY_SECONDS)

    def until_well(self) -> None:
        """Raises SystemExit when it is not well in time."""
        if self.well_within(WELL_SECONDS) is None:
            raise SystemExit(f"not well within {WELL_SECONDS:g} s: {self.verdicts()} {self.reasons} {self._firing}")


@dataclass(slots=True)
class Account:
    """What is told of one fault, from its begin on; all times are seconds since then.

    ``expected`` is right for the first apiserver, ``other`` for the other one, None where it has nothing. With ``both``
    it has to be told of both.
    """

    expected: Verdict
    names: tuple[str, str]
    other: Verdict | None = None
    both: bool = False
    verdict_at: float | None = None
    alert_at: float | None = None
    wrong: set[str] = field(default_factory=set)
    lost_at: float | None = None
    """When, after the right verdict, the first one that is neither it nor `unknown` was told."""
    unknown_seconds: float = 0.0
    """For how long, after the right verdict, it was `unknown` or nothing."""
    _before: float = 0.0

    def see(self, at: float, verdicts: Verdicts, firing: Collection[tuple[str, str]]) -> None:
        """Take what is told now; ``firing`` are pages as name and apiserver."""
        first, second = verdicts
        if self.verdict_at is not None and first is not self.expected:
            if first in {None, Verdict.UNKNOWN}:
                self.unknown_seconds += at - self._before
            elif self.lost_at is None:
                self.lost_at = at
        named = first is self.expected and (not self.both or second is self.expected)
        if named and self.verdict_at is None:
            self.verdict_at = at
        page = ALERTS[self.expected]
        if self.alert_at is None and any(each in firing for each in ((page, self.names[0]), (page, ""))):
            self.alert_at = at
        self.blame(verdicts, firing)
        self._before = at

    def blame(self, verdicts: Verdicts, firing: Collection[tuple[str, str]]) -> None:
        """Take the names that are wrong, whenever they are told."""
        first, second = verdicts
        if first not in {None, self.expected, *BLAMELESS}:
            self.wrong.add(str(first))
        if second not in {None, self.other, *BLAMELESS}:
            self.wrong.add(f"{second} of the other apiserver")
        right = {(ALERTS[self.expected], self.names[0]), (ALERTS[self.expected], "")}
        if self.other is not None:
            right.add((ALERTS[self.other], self.names[1]))
        self.wrong |= {f"{page} on {apiserver or 'no apiserver'}" for page, apiserver in set(firing) - right}
