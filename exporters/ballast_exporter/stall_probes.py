"""Asks apiservers and etcd members what tells a stalled channel from everything else: docs/grpc-stall.md.

Each probe has a thread, a clock and a deadline of its own, and none waits for another. One that failed is repeated at
once, so that two failures in a row come within seconds. The collector and `ballastctl apiserver doctor` both run this.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ballast_exporter.apiservers import Apiservers, Listed
from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_apiserver import CACHED, CANARY, PING, PROBES, READINESS, READS, STORAGE, Asked, Server
from ballast_exporter.stall_asking import AGAIN_SECONDS, Asker
from ballast_exporter.stall_canary import DELIVERY, Canary
from ballast_exporter.stall_history import History, Row
from ballast_exporter.stall_members import LINEARIZABLE, Members, address
from ballast_exporter.stall_pages import EVERY_SECONDS, Pages
from ballast_exporter.stall_report import ApiserverReport, Report
from kube_ballast.analysis.stall import Evidence, Judgement, Verdict, judge
from kube_ballast.clients.errors import ClientError
from kube_ballast.config import EtcdConfig

__all__ = ["Probes", "Server"]

FIND_EVERY_SECONDS, FIND_AGAIN_SECONDS, FIND_SECONDS = 60.0, 5.0, 5.0
"""How often the cluster is asked where its apiservers are, after a failure too, and how long that may take."""
STARTING_SECONDS, STARTED_SECONDS = 10.0, 30.0
"""An apiserver that just began to answer is not yet judged by what does not work: its caches are being filled.

The second is since its process began, where its metrics say so.
"""
_TICK_SECONDS: Final = 0.25


class Probes:
    """Probes of ``apiservers`` and of ``etcd``'s members; `run` makes them until it is told to stop.

    Without ``writes`` nothing is written, and nobody watches. ``pages`` is how often the apiservers' own metrics are
    read, in seconds.
    """

    def __init__(
        self,
        apiservers: Apiservers[Server] | Sequence[Server],
        etcd: EtcdConfig | None,
        requests: RequestCounter,
        *,
        writes: bool = True,
        pages: float = EVERY_SECONDS,
    ) -> None:
        self._apiservers = Listed(apiservers) if isinstance(apiservers, Sequence) else apiservers
        self._requests = requests
        self._history = History(time.monotonic, time.time)
        self._asker = Asker(self._history, requests)
        self._members = Members(etcd, self._history, requests)
        self._pages = Pages(pages)
        self._canary = Canary(self._history) if writes else None
        self._asked: Mapping[str, Asked] = {}
        self._unusable: Mapping[str, str] = {}
        self._trouble: tuple[str, ...] = ()
        self._stalled: dict[str, Mapping[str, Row]] = {}
        """What failed when an apiserver was last said to be stalled: by probe, with the row of failures."""

    def run(self, stop: threading.Event) -> None:
        """Probe until ``stop`` is set."""
        ended = threading.Event()
        finding = threading.Thread(target=self._find, args=(ended,), daemon=True)
        try:
            self._members.start(ended)
            finding.start()
            while not stop.wait(_TICK_SECONDS):
                self._history.tick()
                if self._canary is not None:
                    self._canary.overdue()
                self._sort_out()
        finally:  # also where it fails: it is run again then, and nothing may be asked twice
            ended.set()
            self._members.wake()
            finding.join()
            asked, self._asked = self._asked, {}
            for each in asked.values():
                each.end()

    def judgements(self) -> Mapping[str, Judgement]:
        """The verdict on each apiserver as of now, by its address; of one that is none's own there is none."""
        return {name: self._judged(each) for name, each in self._asked.items() if name not in self._unusable}

    def report(self) -> Report:
        """All that is known as of now."""
        told = self._history.told
        return Report(
            {
                name: ApiserverReport(
                    judgement,
                    {probe: told(name, probe) for probe in PROBES},
                    told(name, DELIVERY),
                    self._used(self._asked[name].server),
                    self._pages.progress(name),
                )
                for name, judgement in sorted(self.judgements().items())
            },
            self._members.told(),
            tuple(self._notes()),
            self._members.defragmenting(),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._members.close()

    # -- whom to ask ---------------------------------------------------------------------------------------------

    def _find(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                servers, self._trouble = self._apiservers.now(FIND_SECONDS)
            except ClientError as error:
                self._trouble = (f"no apiserver is known: {error}",)
            else:
                self._ask_these(servers)
            stop.wait(FIND_AGAIN_SECONDS if self._trouble else FIND_EVERY_SECONDS)

    def _ask_these(self, servers: Sequence[Server]) -> None:
        before = self._asked
        now = {each.name: before.get(each.name) or Asked(each, self._pages, self._canary) for each in servers}
        self._asked = now
        for name, asked in before.items():
            if name not in now:
                asked.end()
                self._history.forget(name)
        for name, asked in now.items():
            if name not in before:
                asked.follow(partial(self._requests.count, "apiserver", name))
                asked.probe(self._asker, self._members.hurry)

    def _sort_out(self) -> None:
        """Probe no address that is a load balancer's, or a second one of an apiserver."""
        found = self._pages.unusable(self._asked)
        if found is None:
            return
        self._unusable = found
        for name, asked in self._asked.items():
            if name in found:
                asked.rest()
                self._history.forget(name)
            else:
                asked.probe(self._asker, self._members.hurry)

    # -- telling -------------------------------------------------------------------------------------------------

    def _notes(self) -> Sequence[str]:
        alone = [f"{name}: no verdict: {why}" for name, why in sorted(self._unusable.items())]
        return (*self._trouble, *alone, *self._members.notes(), *self._history.notes())

    def _used(self, server: Server) -> tuple[str, ...]:
        return tuple(sorted(self._members.names if server.members is None else map(address, server.members)))

    def _judged(self, asked: Asked) -> Judgement:
        judgement = self._judge(asked.server)
        if judgement.verdict in {Verdict.DOWN, Verdict.UNREACHABLE}:
            return judgement  # who does not answer gives no page either
        return replace(judgement, reasons=(*judgement.reasons, *self._pages.words(asked.server.name)))

    def _judge(self, server: Server) -> Judgement:
        up = self._history.up_since(server.name, PING)
        failing = self._failing(server.name, up)
        judgement = judge(self._evidence(server, failing, up))
        if judgement.verdict is Verdict.CHANNEL_STALLED:
            self._stalled[server.name] = failing
        return judgement

    def _failing(self, name: str, up: float | None) -> Mapping[str, Row]:
        """What fails in a row, by probe; the ping is not among them."""
        return {
            probe: row
            for probe in (*PROBES, DELIVERY)
            if probe != PING and (row := self._history.failing(name, probe, up)) is not None
        }

    def _evidence(self, server: Server, failing: Mapping[str, Row], up: float | None) -> Evidence:
        name, history = server.name, self._history
        # What was well before something failed tells nothing of why it fails.
        storage = {probe: row for probe, row in failing.items() if probe in STORAGE}
        stalled = self._still_stalled(name, storage)
        since = min((row.first for row in (storage or failing).values()), default=None)
        return Evidence(
            ping=history.measured(name, PING, since),
            readiness=history.measured(name, READINESS, up=up),
            # News is of a write: what was written before the first that is overdue shows nothing of it.
            canary=history.measured(name, CANARY, None if storage else since, up=up),
            delivery=history.measured(name, DELIVERY, up=up),
            reads={resource: history.measured(name, resource, up=up) for resource in READS},
            members=self._members.seen(self._used(server), since),
            unasked=self._members.unasked if server.members is None else 0,
            others_write=self._others_reach_etcd(name, since),
            starting=self._starting(name, up),
            writes=self._canary is not None,
            in_between=stalled
            or any(
                self._well_meanwhile(server, probe, row.first, *each)
                for probe, row in storage.items()
                for each in row.later
            ),
            stalled=stalled,
        )

    def _starting(self, name: str, up: float | None) -> bool:
        """Whether it answers only since a moment ago, or broke off or refused connections a moment ago."""
        changed = [at for at in (up, self._history.ended_at(name)) if at is not None]
        lately = bool(changed) and time.monotonic() - max(changed) < STARTING_SECONDS
        started = self._pages.started(name)
        return lately or (started is not None and 0.0 <= time.time() - started < STARTED_SECONDS)

    def _still_stalled(self, name: str, storage: Mapping[str, Row]) -> bool:
        """Whether one of these rows of failures is one in which it was said to be stalled."""
        before = self._stalled.get(name, {})
        return any(probe in before and before[probe].first == row.first for probe, row in storage.items())

    def _well_meanwhile(self, server: Server, probe: str, first: float, began: float, ended: float) -> bool:
        """Whether what needs no etcd, and each member that it uses, answered well between the first failure and it.

        And during it, where it took its time: what stands still twice in a row looks like one that is stuck.
        """
        front = (PING, CACHED[probe]) if probe in CACHED else (PING,)
        members = ((member, LINEARIZABLE) for member in self._used(server))
        asked = (*((server.name, each) for each in front), *members)
        spans = [(first, began), *([(began, ended)] if _took_time(began, ended) else [])]
        return all(self._history.well_between(*each, *span) for each in asked for span in spans)

    def _others_reach_etcd(self, name: str, since: float | None) -> bool | None:
        probes = tuple(READS) if self._canary is None else (CANARY,)
        others = [other for other in self._asked if other != name and other not in self._unusable]
        known = [self._history.measured(other, probe, since) for other in others for probe in probes]
        if any(each is not None and each.well for each in known):
            return True
        return None if None in known else False


def _took_time(began: float, ended: float) -> bool:
    """Whether a failure took so long that something else can have been answered meanwhile."""
    return ended - began > AGAIN_SECONDS
