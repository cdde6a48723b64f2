"""One apiserver at its own address, asked past any load balancer: with a certificate or a token of ours."""

import ssl
import threading

from kube_ballast.clients import credentials
from kube_ballast.clients.http import tls_context
from kube_ballast.clients.kubernetes.access import Access, host_of
from kube_ballast.clients.kubernetes.limits import Limit
from kube_ballast.config import HttpConfig, TLSFiles


class Instance:
    """A `Source`; certificates are loaded again when their files change, the token is read for each request."""

    def __init__(self, config: HttpConfig) -> None:
        self.target = config.url
        self._config = config
        self._tls = config.tls or TLSFiles()
        self._lock = threading.Lock()
        self._made: tuple[credentials.Stamp, ssl.SSLContext] | None = None

    def access(self, limit: Limit) -> Access:
        """See `Source`."""
        limit.check()
        token = self._config.bearer_token_file
        authorization = None if token is None else f"Bearer {credentials.read_secret(self.target, token)}"
        context = self._context() if self.target.startswith("https:") else None
        return Access(self.target, context, self._tls.server_name or host_of(self.target)[0], authorization)

    def refused(self) -> None:
        """See `Source`; nothing is kept that could be refused."""

    def _context(self) -> ssl.SSLContext:
        stamp = credentials.stamp(self.target, credentials.tls_paths(self._tls))
        with self._lock:
            if self._made is None or self._made[0] != stamp:
                self._made = stamp, tls_context(self.target, self._tls)
            return self._made[1]
