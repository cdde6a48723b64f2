"""Where the apiserver is and who asks: from a kubeconfig, or as the service account of the pod this runs in."""

import os
import ssl
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from kube_ballast.clients import credentials
from kube_ballast.clients.errors import Denied
from kube_ballast.clients.kubernetes.limits import Limit, within
from kube_ballast.config import KubernetesConfig

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FRESH_SECONDS = 30.0
"""How long what a kubeconfig says is used before it is read again, with the files it names."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one request needs. ``context`` is None for plain HTTP, ``server_name`` what the certificate must name."""

    url: str
    context: ssl.SSLContext | None
    server_name: str
    authorization: str | None


class Source(Protocol):
    """Gives the access as it is now."""

    target: str

    def access(self, limit: Limit) -> Access:
        """Raises Denied when credentials cannot be had, Timeout when that takes too long."""

    def refused(self) -> None:
        """The apiserver did not know these credentials: they are made anew for the next request."""


class InCluster:
    """The service account of the pod. Its token is read for each request, since the kubelet renews it."""

    def __init__(self, folder: Path) -> None:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        bracketed = f"[{host}]" if ":" in host else host
        self.target = f"https://{bracketed}:{port}"
        self._host, self._ca, self._token = host, folder / "ca.crt", folder / "token"
        self._lock = threading.Lock()
        self._made: tuple[credentials.Stamp, ssl.SSLContext] | None = None

    def access(self, limit: Limit) -> Access:
        """See `Source`."""
        limit.check()
        if not self._host:
            raise Denied(
                "kubernetes",
                "this does not run in a pod (KUBERNETES_SERVICE_HOST is not set): configure kubernetes.kubeconfig",
            )
        token = credentials.read_secret(self.target, self._token)
        return Access(self.target, self._context(), self._host, f"Bearer {token}")

    def refused(self) -> None:
        """See `Source`; the token is read for each request anyway."""

    def _context(self) -> ssl.SSLContext:
        stamp = credentials.stamp(self.target, (self._ca,))
        with self._lock:
            if self._made is None or self._made[0] != stamp:
                self._made = stamp, _context(self.target, self._ca)
            return self._made[1]


class KubeConfig:
    """A context of a kubeconfig. What it says, and what its plugin gave, is kept for a while."""

    def __init__(self, path: Path, context: str | None) -> None:
        self.target = str(path)
        self._path, self._context = path, context
        self._lock = threading.Lock()
        self._kept: tuple[float, Access] | None = None

    def access(self, limit: Limit) -> Access:
        """See `Source`. A plugin that hangs costs one thread until it ends."""
        with self._lock:
            if self._kept is not None and time.monotonic() < self._kept[0]:
                return self._kept[1]
        # 36 MB that a process with the rights of its pod never needs.
        from kube_ballast.clients.kubernetes import kubeconfig  # noqa: PLC0415 - it costs 36 MB

        loaded = within(
            limit, lambda: kubeconfig.load(self._path, self._context), self.target, "reading the credentials"
        )
        until = time.monotonic() + (FRESH_SECONDS if loaded.lasts_seconds is None else loaded.lasts_seconds)
        with self._lock:
            self._kept = until, loaded.access
        return loaded.access

    def refused(self) -> None:
        """See `Source`."""
        with self._lock:
            self._kept = None


class Elsewhere:
    """The same credentials, for another address of the same cluster."""

    def __init__(self, source: Source, url: str) -> None:
        self.target = url
        self._source = source

    def access(self, limit: Limit) -> Access:
        """See `Source`. A name that the certificate has to have of its own (`tls-server-name`) stays."""
        given = self._source.access(limit)
        own = given.server_name != host_of(given.url)[0]
        return replace(given, url=self.target, server_name=given.server_name if own else host_of(self.target)[0])

    def refused(self) -> None:
        """See `Source`."""
        self._source.refused()


def source(config: KubernetesConfig) -> Source:
    """As configured."""
    return InCluster(SERVICE_ACCOUNT) if config.kubeconfig is None else KubeConfig(config.kubeconfig, config.context)


def host_of(url: str) -> tuple[str, int]:
    """Host and port of an apiserver's URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _context(target: str, ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise Denied(target, f"nothing was sent: {ca} cannot be used: {error}") from error
