"""One gRPC connection to one etcd member, made anew when its certificate files change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc

from kube_ballast import __version__
from kube_ballast.clients import credentials
from kube_ballast.clients.errors import Unavailable
from kube_ballast.config import TLSFiles

_MEBIBYTE = 1024 * 1024
OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", f"kube-ballast/{__version__}"),
    # A proxy from the environment is made for other traffic than a control plane's.
    ("grpc.enable_http_proxy", 0),
    # Channels with equal options would share one connection and its back-off across the whole process.
    ("grpc.use_local_subchannel_pool", 1),
    # etcd answers more than one PING in 5 s with GOAWAY; a silent member is given up within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A defragmentation sends nothing for minutes; PINGs have to go on meanwhile.
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted member is found again within about a second. The minimum is the time one attempt to connect may take.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # 2,000 keys with their values fit as a rule, whole databases do not: the caller's memory is protected, not etcd's.
    ("grpc.max_receive_message_length", 256 * _MEBIBYTE),
)


@dataclass(slots=True)
class _Connection:
    channel: grpc.Channel
    stamp: credentials.Stamp
    users: int = 0
    retired: bool = False


class Channel:
    """Hands out the current connection to ``endpoint`` (``http(s)://HOST:PORT``). Thread safe."""

    def __init__(self, endpoint: str, tls: TLSFiles | None) -> None:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        self.endpoint = endpoint
        self.secure = parts.scheme == "https"
        self._target = f"dns:///{f'[{host}]' if ':' in host else host}:{parts.port or 2379}"
        self._tls = tls
        self._lock = threading.Lock()
        self._current: _Connection | None = None
        self._closed = False

    @property
    def shows_certificate(self) -> bool:
        """Whether a client certificate is configured."""
        return self._tls is not None and self._tls.cert is not None

    @contextmanager
    def use(self) -> Iterator[grpc.Channel]:
        """The connection for one call. A connection that was replaced is closed once its last call ended.

        Raises:
            Denied: a certificate file cannot be read.
            Unavailable: this client was closed.
        """
        connection = self._take()
        try:
            yield connection.channel
        finally:
            with self._lock:
                connection.users -= 1
                done = connection.retired and not connection.users
            if done:
                connection.channel.close()

    def close(self) -> None:
        """Ends the connection and the calls that are still under way on it."""
        with self._lock:
            self._closed = True
            connection, self._current = self._current, None
        if connection is not None:
            connection.channel.close()

    def _take(self) -> _Connection:
        stamp = credentials.stamp(self.endpoint, credentials.tls_paths(self._tls))
        unused: _Connection | None = None
        with self._lock:
            if self._closed:
                raise Unavailable(self.endpoint, "nothing was sent: this client is closed")
            connection = self._current
            if connection is None or connection.stamp != stamp:
                if connection is not None:
                    connection.retired = True
                    unused = None if connection.users else connection
                connection = self._current = _Connection(self._open(), stamp)
            connection.users += 1
        if unused is not None:
            unused.channel.close()
        return connection

    def _open(self) -> grpc.Channel:
        if not self.secure:
            return grpc.insecure_channel(self._target, OPTIONS)
        tls = self._tls or TLSFiles()
        ca, cert, key = (
            None if path is None else credentials.read(self.endpoint, path) for path in (tls.ca, tls.cert, tls.key)
        )
        options = OPTIONS
        if tls.server_name is not None:
            options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
        return grpc.secure_channel(self._target, grpc.ssl_channel_credentials(ca, key, cert), options)
