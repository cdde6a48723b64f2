"""Shapes that every object and every list of the API has, and what this client makes of them.

Callers declare the fields they read, and no others: decoding then costs little time and memory however big the
objects are.

    class Node(msgspec.Struct, frozen=True):
        metadata: ObjectMeta
        spec: NodeSpec
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

import msgspec

from kube_ballast.clients.errors import ClientError

T = TypeVar("T")


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """`meta/v1.ObjectMeta`, the part that identifies."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class PartialObjectMetadata(msgspec.Struct, frozen=True):
    """Any object, without what is in it."""

    metadata: ObjectMeta


JSON: Final = "application/json"
_META: Final = "g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Collection(Generic[T]):
    """What of a collection is read, and as what: `Collection("/api/v1/nodes", Node)`.

    ``params`` are such as a `labelSelector`, ``page`` how many items are asked for at once (500, as kubectl does). With
    ``metadata_only`` the apiserver leaves out what is in the objects; read them as `PartialObjectMetadata`.
    """

    path: str
    kind: type[T]
    params: tuple[tuple[str, str], ...] = ()
    page: int = 500
    metadata_only: bool = False

    @property
    def accept_list(self) -> str:
        """The header for lists."""
        return f"{JSON};as=PartialObjectMetadataList;{_META}" if self.metadata_only else JSON

    @property
    def accept_one(self) -> str:
        """The header for watches, which send one object after another."""
        return f"{JSON};as=PartialObjectMetadata;{_META}" if self.metadata_only else JSON


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list's items.

    Where ``begins`` is set, the list begins here, also anew: what earlier pages said is to be forgotten.
    ``remaining`` is how many are still to come, None where the apiserver does not say.
    """

    items: tuple[T, ...]
    resource_version: str
    begins: bool
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A whole list, as it was at ``resource_version``."""

    items: tuple[T, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """One object came, went, or is another than before; of one that went, ``item`` is its last state."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    item: T


@dataclass(frozen=True, slots=True)
class Current:
    """Everything up to this version has been told; the watch is open."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Changes are not told at present, for this reason; the watch is being opened again."""

    error: ClientError
