"""Asks etcd's members directly: whether they answer a read, with a quorum and alone, and whether they defragment."""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_asking import Asker, Pace, Probe
from ballast_exporter.stall_history import History, Told
from kube_ballast.analysis.stall import Member
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.config import EtcdConfig

LINEARIZABLE, SERIALIZABLE = "linearizable", "serializable"
PROBES: Final = (LINEARIZABLE, SERIALIZABLE)
_PACES: Final = {LINEARIZABLE: Pace(2.0, 1.5, slow=0.5), SERIALIZABLE: Pace(2.5, 1.5, slow=0.5)}
_DEFRAG: Final = Pace(12.0, 1.5)
"""And once more as soon as a read fails."""
_LIST_EVERY_SECONDS: Final = 60.0
_KEY: Final = b"/registry/ballast-canary"


def address(endpoint: str) -> str:
    """HOST:PORT of an endpoint: what a member is called."""
    return urlsplit(endpoint).netloc


class Members:
    """The members of ``etcd``; with None there is none to ask."""

    def __init__(self, etcd: EtcdConfig | None, history: History, requests: RequestCounter) -> None:
        self._history = history
        self._requests = requests
        self._asker = Asker(history, requests)
        members = etcd.members if etcd else ()
        self._grpc = {m.endpoint: EtcdClient(m.endpoint, tls=etcd.tls, auth=etcd.auth) for m in members if etcd}
        self._http = {m.endpoint: EtcdHttp(m.http_url, tls=etcd.tls) for m in members if etcd}
        self._well = dict.fromkeys(self._grpc, True)
        self._wake = {endpoint: threading.Event() for endpoint in self._grpc}
        self._defragments: dict[str, bool] = {}
        self._voters: tuple[str, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return tuple(map(address, self._grpc))

    def start(self, stop: threading.Event) -> None:
        """Ask until ``stop`` is set."""
        for endpoint in self._grpc:
            others = partial(self._hurry, [each for each in self.names if each != address(endpoint)])
            for name, ask in ((LINEARIZABLE, self._linearizable), (SERIALIZABLE, self._serializable)):
                asked = partial(ask, endpoint)
                probe = Probe(address(endpoint), name, asked, _PACES[name], "etcd", endpoint, compare=others)
                self._asker.start(probe, stop)
            threading.Thread(target=self._watch, args=(endpoint, stop), daemon=True).start()

    def seen(self, used: Sequence[str], since: float | None) -> Mapping[str, Member]:
        """What is known of each, for an apiserver that uses ``used``, by name."""
        return {
            name: Member(
                self._history.measured(name, LINEARIZABLE, since),
                self._history.measured(name, SERIALIZABLE, since),
                defragments=self._defragments.get(name, False),
                used=name in used,
                back=self._history.back(name, LINEARIZABLE),
                apart=self._apart(name),
            )
            for name in self.names
        }

    def _apart(self, name: str) -> bool:
        """Whether another one answered after this one failed, and before it failed again."""
        gone, others = self._history.gone(name, LINEARIZABLE), [each for each in self.names if each != name]
        return gone is not None and any(self._history.well_between(each, LINEARIZABLE, *gone) for each in others)

    def hurry(self) -> None:
        """Ask all of them now."""
        self._hurry(self.names)

    def _hurry(self, names: Sequence[str]) -> None:
        for name in names:
            for probe in PROBES:
                self._asker.hurry(name, probe)

    def told(self) -> Mapping[str, Mapping[str, Told]]:
        """What is to be told of each, by name and probe."""
        return {name: {probe: self._history.told(name, probe) for probe in PROBES} for name in self.names}

    @property
    def unasked(self) -> int:
        """How many more voters etcd has than are asked, by the last list of any member."""
        return max(0, len(self._voters) - len(self._grpc))

    def notes(self) -> Sequence[str]:
        """That a member is asked by nobody, and which ones there are."""
        if not self.unasked:
            return ()
        there, asked = ", ".join(self._voters), ", ".join(self.names)
        unknown = "until then whatever fails on the way to etcd is unknown"
        return (f"etcd has members at {there}, and is asked only at {asked}: name all of them; {unknown}",)

    def defragmenting(self) -> Mapping[str, bool]:
        """What they say of that, those that say anything."""
        return dict(self._defragments)

    def wake(self) -> None:
        """Have what waits look whether it is stopped."""
        for each in self._wake.values():
            each.set()

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._grpc.values():
            client.close()

    def _linearizable(self, endpoint: str, seconds: float) -> None:
        try:
            self._grpc[endpoint].range(_KEY, timeout=seconds)
        except ClientError:
            if self._well[endpoint]:
                self._well[endpoint] = False
                self._wake[endpoint].set()
            raise
        self._well[endpoint] = True

    def _serializable(self, endpoint: str, seconds: float) -> None:
        self._grpc[endpoint].range(_KEY, timeout=seconds, serializable=True)

    def _watch(self, endpoint: str, stop: threading.Event) -> None:
        listed = float("-inf")
        while not stop.is_set():
            self._wake[endpoint].clear()
            self._see_defragmentation(endpoint)
            if time.monotonic() - listed >= _LIST_EVERY_SECONDS:
                listed = time.monotonic()
                self._list_members(endpoint)
            self._wake[endpoint].wait(_DEFRAG.every)

    def _see_defragmentation(self, endpoint: str) -> None:
        http = self._http[endpoint]
        self._requests.count("etcd", http.url)
        try:
            inflight = http.metrics(timeout=_DEFRAG.deadline).defrag_inflight
        except ClientError:
            inflight = None
        if inflight is None:  # what says nothing of it is judged by its reads
            self._defragments.pop(address(endpoint), None)
        else:
            self._defragments[address(endpoint)] = inflight > 0

    def _list_members(self, endpoint: str) -> None:
        """Learn who belongs to the cluster; a learner serves no apiserver."""
        self._requests.count("etcd", endpoint)
        try:
            members = self._grpc[endpoint].member_list(timeout=_DEFRAG.deadline, linearizable=False)
        except ClientError:  # where we may not know it, those that are named are all
            return
        self._voters = tuple(sorted(",".join(each.client_urls) or each.name for each in members if not each.is_learner))
