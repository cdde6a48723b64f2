"""What one apiserver is asked, each on a clock of its own."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from ballast_exporter.stall_asking import Ask, Asker, Pace, Probe
from ballast_exporter.stall_canary import LEASES, Canary
from ballast_exporter.stall_pages import Pages
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.kubernetes import Kubernetes, PartialObjectMetadata
from kube_ballast.clients.kubernetes.metrics import InstanceMetrics
from kube_ballast.config import HttpConfig

OBJECT: Final = "ballast-canary"
"""What quorum reads ask for. Nobody has it: 404 is etcd's answer as well as any, and reads nothing of anybody's."""
READS: Final[Mapping[str, str]] = {
    "pods": f"/api/v1/namespaces/default/pods/{OBJECT}",
    "nodes": f"/api/v1/nodes/{OBJECT}",
    "configmaps": f"/api/v1/namespaces/default/configmaps/{OBJECT}",
    "secrets": f"/api/v1/namespaces/default/secrets/{OBJECT}",
    "endpointslices": f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{OBJECT}",
    "leases": f"{LEASES}/{OBJECT}",
}
PING, READINESS, CANARY = "ping", "readiness", "canary"
PROBES: Final = (PING, READINESS, CANARY, *READS)
STORAGE: Final = (READINESS, *READS)
"""What goes to etcd and does nothing else."""
CACHED: Final[Mapping[str, str]] = {resource: f"{resource} from the watch cache" for resource in READS}
"""The same reads, answered without etcd: all that stands before the storage is the same for them."""
_PACES: Final = {PING: Pace(2.0, 1.0, slow=0.4), READINESS: Pace(3.0, 2.5), CANARY: Pace(2.0, 1.5)}
_READ: Final = Pace(4.0, 1.0)
_APART_SECONDS: Final = _READ.every / len(READS)
_CACHED: Final = Pace(900.0, 1.0)
"""And as soon as the same read fails without the cache."""
_LEADS_SECONDS: Final = 3.0
"""Without a comparison of the one resource for so long, another may be compared."""


@dataclass(frozen=True, slots=True)
class Server:
    """An apiserver; ``members`` are the endpoints of etcd that it uses, None for all that are known.

    ``through`` is a client of its cluster whose credentials are good for it; without one ``config`` has its own.
    """

    config: HttpConfig
    members: tuple[str, ...] | None = None
    through: Kubernetes | None = None

    @property
    def name(self) -> str:
        return urlsplit(self.config.url).netloc

    def client(self) -> Kubernetes:
        """Asks this apiserver and no other."""
        if self.through is not None:
            return self.through.at(self.config.url)
        return Kubernetes(self.config, agent="ballast-stall")


class Asked:
    """An apiserver that is asked. Its page goes on being read while the other probes rest."""

    def __init__(self, server: Server, pages: Pages, canary: Canary | None) -> None:
        """With ``canary`` None nothing is written through it."""
        self.server = server
        self._client = server.client()
        self._pages = pages
        self._canary = canary
        self._lock = threading.Lock()
        self._probing: threading.Event | None = None
        self._ended = threading.Event()
        self._lead, self._led = "", float("-inf")
        """The resource that is read from the watch cache too, and since when."""

    def follow(self, asks: Callable[[], None]) -> None:
        """Read its page until the end; ``asks`` is called before each request."""
        page = InstanceMetrics(self._client, self.server.config.url)
        args = (self.server.name, page, asks, self._ended)
        threading.Thread(target=self._pages.follow, args=args, daemon=True).start()

    def probe(self, asker: Asker, hurry_members: Callable[[], None]) -> None:
        """Make the probes, if they are not made already.

        Where one fails, etcd's members are asked at once, and the same that needs no etcd.
        """
        name, stop = self.server.name, threading.Event()
        with self._lock:
            if self._probing is not None:
                return
            self._probing = stop
        asks: dict[str, Ask] = {
            PING: partial(self._page, "/readyz/ping"),
            READINESS: partial(self._page, "/readyz/etcd-readiness"),
        }
        if self._canary is not None:
            self._canary.join(name, self._client)
            asks[CANARY] = partial(self._canary.write, name)
            threading.Thread(target=self._canary.listen, args=(name, stop), daemon=True).start()

        def compare(probe: str) -> None:
            asker.hurry(name, PING)
            hurry_members()
            if probe in CACHED and self._leads(probe):
                asker.hurry(name, CACHED[probe])

        def start(probe: str, ask: Ask, pace: Pace, first: float = 0.0) -> None:
            made = Probe(name, probe, ask, pace, "apiserver", name, first)
            # The ping is what the others are compared with.
            behind = replace(made, compare=partial(compare, probe), reaches=False)
            asker.start(made if probe == PING else behind, stop)

        for probe, ask in asks.items():
            start(probe, ask, _PACES[probe])
        for number, (resource, path) in enumerate(READS.items()):
            start(resource, partial(self._read, path), _READ, number * _APART_SECONDS)
            cached = partial(self._read_cached, path)
            asker.start(Probe(name, CACHED[resource], cached, _CACHED, "apiserver", name), stop)

    def rest(self) -> None:
        """Make no more probes for now."""
        with self._lock:
            probing, self._probing = self._probing, None
        if probing is not None:
            probing.set()
            if self._canary is not None:
                self._canary.leave(self.server.name)

    def end(self) -> None:
        """Ask it nothing any more."""
        self.rest()
        self._ended.set()

    def _page(self, path: str, seconds: float) -> None:
        self._client.text(path, timeout=seconds)

    def _leads(self, resource: str) -> bool:
        """Whether this one is compared now. One is enough to prove it, and all of them at once make pings late."""
        now = time.monotonic()
        with self._lock:
            if resource != self._lead and now - self._led < _LEADS_SECONDS:
                return False
            self._lead, self._led = resource, now
            return True

    def _read_cached(self, path: str, seconds: float) -> None:
        try:
            self._read(f"{path}?resourceVersion=0", seconds)
        except ClientError:  # this one proves nothing: another may
            with self._lock:
                self._led = float("-inf")
            raise

    def _read(self, path: str, seconds: float) -> None:
        self._client.find(path, PartialObjectMetadata, timeout=seconds)
