"""Asks a cluster's apiserver.

Every call ends within its ``timeout``: seconds for everything from the credentials to the body's last byte. Nothing is
asked twice. Calls may come from many threads; each has a connection of its own, so that a certificate or a token that
was renewed is used at once.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from kube_ballast import __version__
from kube_ballast.clients.errors import BadResponse, Compacted, Timeout
from kube_ballast.clients.kubernetes import access
from kube_ballast.clients.kubernetes.failures import status_of
from kube_ballast.clients.kubernetes.instance import Instance
from kube_ballast.clients.kubernetes.limits import Limit, Overdue
from kube_ballast.clients.kubernetes.line import Request, Response
from kube_ballast.clients.kubernetes.lines import Fresh, Kept, Lines
from kube_ballast.clients.kubernetes.types import JSON, Collection, Listing, Page
from kube_ballast.config import HttpConfig, KubernetesConfig

T = TypeVar("T")
Params = Iterable[tuple[str, str]]

MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

LIMIT_BYTES: Final = 64 * 1024 * 1024
"""The largest answer, or page of a list, that is taken."""
RESTARTS: Final = 3
"""How often one list is begun anew, since its snapshot was compacted away while it was read."""
_TEXT_BYTES: Final = 300


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _List(msgspec.Struct, Generic[T], frozen=True):
    metadata: _ListMeta
    items: tuple[T, ...] | None = None


class Kubernetes:
    """One cluster, as one user. ``agent`` is what its audit log and metrics call this program.

    With an `HttpConfig` it is one apiserver of the cluster, at that address.
    """

    def __init__(self, config: KubernetesConfig | HttpConfig, *, agent: str = "kube-ballast") -> None:
        self._source = Instance(config) if isinstance(config, HttpConfig) else access.source(config)
        self._agent = f"{agent}/{__version__} (kube-ballast)"
        self._lines: Lines = Fresh()

    @property
    def target(self) -> str:
        """What errors call it until the apiserver's URL is known: that URL, or the kubeconfig's path."""
        return self._source.target

    def at(self, url: str) -> "Kubernetes":
        """The same user's, at the address of one apiserver of the cluster."""
        same = copy.copy(self)
        same._source = access.Elsewhere(self._source, url)  # noqa: SLF001 - of its own class
        return same

    def get(self, path: str, kind: type[T], *, timeout: float, params: Params = (), accept: str = JSON) -> T:
        """The object at ``path``, such as `/api/v1/nodes/a`; see `call` for what is raised."""
        return self.call("GET", path, kind, timeout=timeout, params=params, accept=accept)

    def text(self, path: str, *, timeout: float) -> str:
        """The page at ``path``, such as `/readyz/ping`; see `call` for what is raised."""
        limit = Limit(timeout)
        with self.asked(self.request("GET", path, accept="*/*", packs=False), limit) as response:
            body = response.body(limit, LIMIT_BYTES)
            if not response.succeeded:
                raise response.refusal(body)
            return body.decode(errors="replace")

    def find(self, path: str, kind: type[T], *, timeout: float) -> T | None:
        """The object at ``path``, None when the apiserver knows none; see `call` for what is raised."""
        limit = Limit(timeout)
        with self.asked(self.request("GET", path), limit) as response:
            body = response.body(limit, LIMIT_BYTES)
            if response.status == HTTPStatus.NOT_FOUND and status_of(response.status, body).reason == "NotFound":
                return None
            return _decoded(response, body, kind)

    def create(self, path: str, item: object, kind: type[T], *, timeout: float) -> T:
        """POSTs ``item`` (anything msgspec encodes) to the collection at ``path``; see `call` for what is raised."""
        return self.call("POST", path, kind, timeout=timeout, body=item)

    def patch(self, path: str, change: object, kind: type[T], *, timeout: float, how: str = MERGE_PATCH) -> T:
        """The object after the change; put its `resourceVersion` into it to change no other state than the one seen.

        See `call` for what is raised.
        """
        return self.call("PATCH", path, kind, timeout=timeout, body=change, content_type=how)

    def delete(self, path: str, *, timeout: float) -> None:
        """DELETEs what is at ``path``; see `call` for what is raised."""
        self.call("DELETE", path, msgspec.Raw, timeout=timeout)

    def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        timeout: float,
        params: Params = (),
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> T:
        """Any request, its answer decoded as ``kind``.

        Raises:
            Unavailable: nobody answered, or the request was turned away before it began; TooManyRequests says when
                to come again.
            Timeout: no whole answer in time; of what acts it is unknown whether it took effect.
            Denied: 401, 403, a certificate that one side does not accept, or credentials that cannot be had.
            Conflict: 404, 409, 412.
            Compacted: 410, the resource version is too old.
            NoSpace: etcd is full.
            BadResponse: anything else, also an answer of more than `LIMIT_BYTES`.
        """
        limit = Limit(timeout)
        request = self.request(method, path, params, body=body, content_type=content_type, accept=accept)
        with self.asked(request, limit) as response:
            answer = response.body(limit, LIMIT_BYTES)
            return _decoded(response, answer, kind)

    def pages(
        self, collection: Collection[T], *, timeout: float, resource_version: str | None = None
    ) -> Iterator[Page[T]]:
        """A list, page by page, all of one snapshot.

        When the snapshot is compacted away under it, the list begins anew: see `Page.begins`.

        Args:
            collection: what is listed.
            timeout: seconds for the whole list, also for what the caller does between its pages.
            resource_version: None for what etcd has now; else nothing older than this, and `0` for whatever the
                apiserver has in memory, which may be minutes old, and comes in one piece from older apiservers.

        Raises:
            Compacted: that has happened more often than `RESTARTS`.
            ClientError: the others of `call`.
        """
        return self.listed(collection, Limit(timeout), resource_version)

    def list(self, collection: Collection[T], *, timeout: float, resource_version: str | None = None) -> Listing[T]:
        """A whole list in memory; see `pages`."""
        return whole(self.pages(collection, timeout=timeout, resource_version=resource_version))

    def listed(self, collection: Collection[T], limit: Limit, resource_version: str | None) -> Iterator[Page[T]]:
        """What `pages` gives; for this package."""
        shape = _List[collection.kind]  # type: ignore[name-defined]
        snapshot = [] if resource_version is None else _not_older_than(resource_version)
        following, restarts = "", 0
        with self.kept() as same:
            while True:
                place = [("continue", following)] if following else snapshot
                query = (*collection.params, ("limit", str(collection.page)), *place)
                request = self.request("GET", collection.path, query, accept=collection.accept_list)
                try:
                    with same.asked(request, limit) as response:
                        found: _List[T] = _decoded(response, response.body(limit, LIMIT_BYTES), shape)
                except Compacted:
                    if not following or restarts == RESTARTS:
                        raise
                    # What was read so far belongs to a snapshot whose rest is gone: now as it is in etcd.
                    following, snapshot, restarts = "", [], restarts + 1
                    continue
                meta = found.metadata
                yield Page(found.items or (), meta.resource_version, not following, meta.remaining_item_count)
                following = meta.continue_
                if not following:
                    return

    @contextmanager
    def kept(self) -> Iterator["Kubernetes"]:
        """The same, for one thread that asks many times: its calls share a connection while that lasts."""
        lines = Kept()
        same = copy.copy(self)
        same._lines = lines  # noqa: SLF001 - of its own class
        try:
            yield same
        finally:
            lines.close()

    @contextmanager
    def asked(self, request: Request, limit: Limit) -> Iterator[Response]:
        """Any answer, whatever its status; for this package."""
        try:
            current = self._source.access(limit)
            line = self._lines.take(current, limit)
        except Overdue:
            raise Timeout(self.target, f"{request.what}: nothing was sent within {limit.seconds:g} s") from None
        try:
            if current.authorization is not None:
                request = replace(request, headers={**request.headers, "Authorization": current.authorization})
            response = line.ask(request, limit)
            if response.status == HTTPStatus.UNAUTHORIZED:
                self._source.refused()
            yield response
        finally:
            self._lines.give_back(line)

    def request(
        self,
        method: str,
        path: str,
        params: Params = (),
        *,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        packs: bool = True,
    ) -> Request:
        """What is sent, without the credentials; for this package."""
        query = urlencode(tuple(params))
        encoding = "gzip" if packs else "identity"
        headers = {"User-Agent": self._agent, "Accept": accept, "Accept-Encoding": encoding}
        if body is not None:
            headers["Content-Type"] = content_type
        packed = None if body is None else msgspec.json.encode(body)
        return Request(method, f"{path}?{query}" if query else path, headers, packed)


def whole(pages: Iterable[Page[T]]) -> Listing[T]:
    """All pages of a list in one."""
    items: list[T] = []
    version = ""
    for page in pages:
        if page.begins:
            items.clear()
        items += page.items
        version = page.resource_version
    return Listing(tuple(items), version)


def _decoded(response: Response, body: bytes, kind: type[T]) -> T:
    if not response.succeeded:
        raise response.refusal(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = " ".join(body[:_TEXT_BYTES].decode(errors="replace").split())
        what = f"{response.request.what}: the answer is not what was asked for ({error}): {start!r}"
        raise BadResponse(response.target, what) from error


def _not_older_than(version: str) -> list[tuple[str, str]]:
    # With a limit and without the match, an apiserver gives exactly this version, or none.
    return [("resourceVersion", version), ("resourceVersionMatch", "NotOlderThan")]
