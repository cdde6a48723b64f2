"""What an apiserver tells of itself on ``/metrics``, read as a stream: single metrics of it, never the page."""

import zlib
from collections.abc import Callable, Iterable

from kube_ballast.clients.errors import BadResponse, Denied, Unavailable
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient, unexpected
from kube_ballast.config import HttpConfig

PAGE_LIMIT_BYTES = 256 * 1024 * 1024
"""Some seven times the page of a busy apiserver."""

_OK, _TOO_MANY = 200, 429
_PIECE_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_WHAT = "GET /metrics"


class ApiserverMetrics:
    """Asks the apiserver at ``config.url``. Thread safe."""

    def __init__(self, config: HttpConfig) -> None:
        self._http = HttpClient(config)
        self.url = config.url

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None:
        """Give the samples of ``names`` to ``take``, in another thread and until shortly after a Timeout.

        ``timeout`` is seconds for everything. An apiserver that is cut off from its etcd needs 20 s for its page.

        Raises:
            Unavailable: nobody answered, the answer broke off, or the apiserver has too much to do.
            Timeout: the page did not end in time.
            Denied: the credential, or what it may read, does not suffice.
            BadResponse: no page of metrics, or one that is larger than 256 MiB or has a line of more than 64 KiB.
        """
        wanted = Filter(names, take)
        page = _Unpacked(wanted.feed)
        try:
            answer = self._http.get("/metrics", timeout=timeout, limit=PAGE_LIMIT_BYTES, consume=page.feed)
        except Denied as error:
            if " 403 " not in error.message:
                raise
            raise Denied(self.url, f"{error.message}: it takes the verb get on the nonResourceURL /metrics") from error
        if answer.status == _TOO_MANY:
            raise Unavailable(self.url, f"{_WHAT}: 429, the apiserver has too much to do and turned this request away")
        if answer.status != _OK:
            raise unexpected(self.url, _WHAT, answer)
        try:
            page.close()
            wanted.close()
        except ValueError as error:
            raise BadResponse(self.url, f"{_WHAT}: the answer cannot be read: {error}") from error


class _Unpacked:
    """Gives a body on as text: proxies pack what nobody asked them to pack. Both methods raise ValueError."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        self._begun = False
        self._zip: zlib._Decompress | None = None
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        if not self._begun:
            self._begun = True
            if piece.startswith(b"\x1f"):  # gzip's first byte, which no text begins with
                self._zip = zlib.decompressobj(_GZIP)
        if self._zip is None:
            self._feed(piece)
        else:
            self._unpack(self._zip, piece)

    def close(self) -> None:
        """The body's end."""
        if self._zip is not None and not self._zip.eof:
            raise ValueError("its gzip breaks off")

    def _unpack(self, packed: "zlib._Decompress", piece: bytes) -> None:
        text = b"x"
        while piece or text:  # it may hold back what did not fit
            try:
                text = packed.decompress(piece, _PIECE_BYTES)
            except zlib.error as error:
                raise ValueError(f"it begins as gzip does and is none: {error}") from error
            piece = packed.unconsumed_tail
            self._size += len(text)
            if self._size > PAGE_LIMIT_BYTES:
                raise ValueError(f"unpacked it is larger than {PAGE_LIMIT_BYTES} bytes")
            if text:
                self._feed(text)
        if packed.unused_data:
            raise ValueError("more follows its gzip")
