"""A Lease for each apiserver, written through it, and whether the news of it reaches a watch on every apiserver."""

import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Final

import msgspec

from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import Answer
from kube_ballast.clients.errors import ClientError, Conflict, Unavailable
from kube_ballast.clients.kubernetes import Broken, Changed, Collection, Kubernetes, Listing, follow

DELIVERY: Final = "delivery"
NAMESPACE: Final = "kube-ballast"
DELIVERED_WITHIN_SECONDS: Final = 2.5
OPENING_SECONDS: Final = 10.0
"""Where a watch broke, the apiserver may have been started since: it opens watches before there is any news on them."""
_PAUSE_SECONDS: Final = 2.0
"""At most, before a watch is opened again: without it an apiserver that is back is not known to be well."""
_NAMESPACES: Final = "/api/v1/namespaces"
LEASES: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resource_version: str


class _Lease(msgspec.Struct, frozen=True):
    metadata: _Meta

    @property
    def revision(self) -> int:
        """Of etcd, at which it was written: of two of one Lease the greater is the later."""
        return int(self.metadata.resource_version)


class Canary:
    """The Leases of all apiservers, by their addresses. Thread safe.

    News is known by its revision and not by what is written, so that another Ballast that writes the same Leases does
    no harm, nor a clock that jumps.
    """

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._lock = threading.Lock()
        self._apiservers: dict[str, Kubernetes] = {}
        self._awaited: dict[tuple[str, str], list[tuple[int, float]]] = {}
        """The revisions that were written, and when, by who shall hear of them and by Lease."""
        self._heard: dict[tuple[str, str], int] = {}
        """What was heard last: news may come before the answer to the write."""
        self._listening: dict[str, float] = {}
        """From when on news is awaited of whoever listens."""

    def join(self, name: str, client: Kubernetes) -> None:
        """This apiserver has a Lease from now on."""
        with self._lock:
            self._apiservers[name] = client

    def leave(self, name: str) -> None:
        """Nothing is written through it, nor awaited of it, any more."""
        with self._lock:
            self._apiservers.pop(name, None)
        self._deaf(name)

    def write(self, through: str, seconds: float) -> None:
        """Change this apiserver's Lease through it, within so many seconds. Raises ClientError."""
        with self._lock:
            client = self._apiservers.get(through)
        if client is None:
            return
        ends = time.monotonic() + seconds
        change = {"metadata": {"name": _lease_name(through)}, "spec": {"holderIdentity": str(time.time_ns())}}
        try:
            lease = _patched(client, change, ends)
        except Conflict:  # it is not there: the first time, or somebody has deleted it
            lease = _created(client, change, ends)
        self._expect(lease, self._clock())

    def listen(self, at: str, stop: threading.Event) -> None:
        """Hear of all Leases at this apiserver until ``stop`` is set."""
        with self._lock:
            client = self._apiservers.get(at)
        if client is None:
            return
        broke = False
        for news in follow(client, Collection(LEASES, _Lease), stop=stop, longest_pause=_PAUSE_SECONDS):
            if isinstance(news, Broken):
                broke = True
                if self._deaf(at) and _broke_off(news.error):
                    self._history.ended(at)
                continue
            broke = broke and not isinstance(news, Changed)
            awaited = self._clock() + (OPENING_SECONDS if broke else 0.0)
            with self._lock:
                if not stop.is_set():
                    self._listening[at] = min(awaited, self._listening.get(at, awaited))
            leases = news.items if isinstance(news, Listing) else (news.item,) if isinstance(news, Changed) else ()
            for lease in leases:
                self._hear(at, lease)

    def overdue(self) -> None:
        """Note what should have been heard of by now."""
        now = self._clock()
        with self._lock:
            late: dict[str, float] = {}
            for (listener, _), writes in self._awaited.items():
                while writes and now - writes[0][1] > DELIVERED_WITHIN_SECONDS:
                    at = writes.pop(0)[1]
                    late[listener] = min(at, late.get(listener, at))
        for listener, at in late.items():
            said = f"no news of a write within {DELIVERED_WITHIN_SECONDS:g} s"
            self._history.add(listener, DELIVERY, at, Answer.TIMEOUT, said)

    def _expect(self, lease: _Lease, at: float) -> None:
        name = lease.metadata.name
        with self._lock:
            here = {each for each in self._listening if self._heard.get((each, name), 0) >= lease.revision}
            for listener in {each for each, awaited in self._listening.items() if awaited <= at} - here:
                self._awaited.setdefault((listener, name), []).append((lease.revision, at))
        for listener in here:
            self._history.add(listener, DELIVERY, at, Answer.OK, seconds=0.0)

    def _hear(self, at: str, lease: _Lease) -> None:
        key = (at, lease.metadata.name)
        with self._lock:
            self._heard[key] = lease.revision
            awaited = self._awaited.get(key, [])
            heard = [each for each in awaited if each[0] <= lease.revision]
            self._awaited[key] = awaited[len(heard) :]
        if heard:
            self._history.add(at, DELIVERY, heard[0][1], Answer.OK)

    def _deaf(self, at: str) -> bool:
        """Its watch is being opened again: until then nothing is awaited of it. Gives whether it was open."""
        with self._lock:
            was_open = self._listening.pop(at, None) is not None
            self._awaited = {key: writes for key, writes in self._awaited.items() if key[0] != at}
            self._heard = {key: revision for key, revision in self._heard.items() if key[0] != at}
            return was_open


def _broke_off(error: ClientError) -> bool:
    """Whether the other end broke the connection: who hangs, is cut off, or answers that he cannot, has not ended."""
    return isinstance(error, Unavailable) and isinstance(error.__cause__, ConnectionError | HTTPException)


def _patched(client: Kubernetes, change: dict[str, dict[str, str]], ends: float) -> _Lease:
    path = f"{LEASES}/{change['metadata']['name']}"
    return client.patch(path, change, _Lease, timeout=ends - time.monotonic())


def _created(client: Kubernetes, lease: dict[str, dict[str, str]], ends: float) -> _Lease:
    """The Lease, and the namespace where even that is missing; somebody else may be faster."""
    for path, item in ((LEASES, lease), (_NAMESPACES, {"metadata": {"name": NAMESPACE}}), (LEASES, lease)):
        try:
            client.create(path, item, msgspec.Raw, timeout=ends - time.monotonic())
        except Conflict as error:
            if path == LEASES and "AlreadyExists" not in error.message:
                continue  # its namespace is missing
        if path == LEASES:
            break
    return _patched(client, lease, ends)


def _lease_name(apiserver: str) -> str:
    return "canary-" + apiserver.strip("[").replace("]", "").replace(":", "-").lower()
