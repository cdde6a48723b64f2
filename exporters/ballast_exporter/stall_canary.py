"""A Lease for each apiserver, written through it, and whether the news of it reaches a watch on every apiserver."""

import threading
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import Answer
from kube_ballast.clients.errors import Conflict
from kube_ballast.clients.kubernetes import Broken, Changed, Collection, Kubernetes, Listing, ObjectMeta, follow

DELIVERY: Final = "delivery"
NAMESPACE: Final = "kube-ballast"
DELIVERED_WITHIN_SECONDS: Final = 2.5
_NAMESPACES: Final = "/api/v1/namespaces"
_LEASES: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str = ""


class _Lease(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()


class Canary:
    """The Leases of all ``apiservers``, by address."""

    def __init__(self, apiservers: Mapping[str, Kubernetes], history: History) -> None:
        self._apiservers = apiservers
        self._history = history
        self._lock = threading.Lock()
        self._awaited: dict[tuple[str, str], tuple[int, float]] = {}
        """What was written, and when, by who shall hear of it and by Lease."""
        self._last: dict[tuple[str, str], int] = {}
        """What was heard last: news may come before the answer to the write."""
        self._listening: set[str] = set()

    def write(self, through: str, seconds: float) -> None:
        """Change this apiserver's Lease through it, within so many seconds. Raises ClientError."""
        apiserver, name = self._apiservers[through], _lease_name(through)
        mark, began = str(time.time_ns()), time.monotonic()
        try:
            change = {"spec": {"holderIdentity": mark}}
            apiserver.patch(f"{_LEASES}/{name}", change, msgspec.Raw, timeout=seconds)
        except Conflict:  # it is not there: the first time, or somebody has deleted it
            self._create(apiserver, name, mark, seconds - (time.monotonic() - began))
        self._expect(name, int(mark), time.monotonic())

    def listen(self, at: str, stop: threading.Event) -> None:
        """Hear of all Leases at this apiserver until ``stop`` is set."""
        for news in follow(self._apiservers[at], Collection(_LEASES, _Lease), stop=stop):
            if isinstance(news, Broken):
                self._deaf(at)
                continue
            with self._lock:
                self._listening.add(at)
            heard = news.items if isinstance(news, Listing) else (news.item,) if isinstance(news, Changed) else ()
            for lease in heard:
                self._heard(at, lease)

    def overdue(self) -> None:
        """Note what should have been heard of by now."""
        now = time.monotonic()
        with self._lock:
            late = [key for key, (_, at) in self._awaited.items() if now - at > DELIVERED_WITHIN_SECONDS]
            began = {listener: self._awaited.pop((listener, name))[1] for listener, name in late}
        for listener, at in began.items():
            self._history.add(listener, DELIVERY, at, Answer.TIMEOUT)

    def _expect(self, name: str, mark: int, at: float) -> None:
        with self._lock:
            here = {each for each in self._listening if self._last.get((each, name), 0) >= mark}
            for listener in self._listening - here:
                self._awaited.setdefault((listener, name), (mark, at))
        for listener in here:  # they heard before the answer was there
            self._history.add(listener, DELIVERY, at, Answer.OK, 0.0)

    def _heard(self, at: str, lease: _Lease) -> None:
        key, identity = (at, lease.metadata.name), lease.spec.holder_identity
        if not identity.isdecimal():
            return  # somebody else wrote it; the next write is ours again
        with self._lock:
            self._last[key] = int(identity)
            awaited = self._awaited.get(key)
            if awaited is None or int(identity) < awaited[0]:
                return
            del self._awaited[key]
        self._history.add(at, DELIVERY, awaited[1], Answer.OK)

    def _deaf(self, at: str) -> None:
        """Its watch is being opened again: until then nothing is awaited of it."""
        with self._lock:
            self._listening.discard(at)
            for key in [key for key in self._awaited if key[0] == at]:
                del self._awaited[key]

    def _create(self, apiserver: Kubernetes, name: str, mark: str, seconds: float) -> None:
        lease = {"metadata": {"name": name}, "spec": {"holderIdentity": mark}}
        try:
            apiserver.create(_LEASES, lease, msgspec.Raw, timeout=seconds)
        except Conflict:
            apiserver.create(_NAMESPACES, {"metadata": {"name": NAMESPACE}}, msgspec.Raw, timeout=seconds)
            apiserver.create(_LEASES, lease, msgspec.Raw, timeout=seconds)


def _lease_name(apiserver: str) -> str:
    return "canary-" + apiserver.strip("[").replace("]", "").replace(":", "-").lower()
