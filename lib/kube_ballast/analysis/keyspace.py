"""What an etcd key says about whose it is: a Kubernetes resource, or somebody else's. Pure.

A Kubernetes apiserver keeps an object under ``PREFIX/RESOURCE/[NAMESPACE/]NAME``, with ``--etcd-prefix`` in front
(``/registry`` unless set) and without the group, as long as the resource is built in; a custom resource lies under
``PREFIX/GROUP/RESOURCE/…``, and so do CustomResourceDefinitions and APIServices. A custom group has a dot in it, which
is checked when the CustomResourceDefinition is made, and no built-in resource has.

Source: kubernetes v1.36, pkg/kubeapiserver/default_storage_factory_builder.go (the resources that lie elsewhere than
under their name), test/integration/etcd/data.go (the path of each built-in resource), pkg/controlplane (the leases of
apiservers, the ranges of Services), apiextensions-apiserver's validation (the dot).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

DEFAULT_PREFIX = "/registry"
LONGEST_NAME = 120
"""Bytes of a name that are shown of a key nobody promised anything about."""


class Resource(NamedTuple):
    """A resource as the API names it; ``group`` is empty for the core group and for what no group is known of."""

    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


class Place(NamedTuple):
    """Where a key belongs. ``resource`` is None for a foreign key; ``name`` is the resource, or who else it may be.

    Every key that starts with ``stem`` belongs to the same place; None where only this one key is known to.
    """

    resource: Resource | None
    name: str
    stem: bytes | None


class Run(NamedTuple):
    """``keys[first:last]`` of a sorted sequence belong to ``place``."""

    place: Place
    first: int
    last: int


_GROUPS = {
    "admissionregistration.k8s.io": (
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations "
        "validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations"
    ),
    "apps": "controllerrevisions daemonsets deployments replicasets statefulsets",
    "autoscaling": "horizontalpodautoscalers",
    "batch": "cronjobs jobs",
    "certificates.k8s.io": "certificatesigningrequests clustertrustbundles podcertificaterequests",
    "coordination.k8s.io": "leasecandidates leases",
    "discovery.k8s.io": "endpointslices",
    "flowcontrol.apiserver.k8s.io": "flowschemas prioritylevelconfigurations",
    "internal.apiserver.k8s.io": "storageversions",
    "networking.k8s.io": "ingressclasses ipaddresses networkpolicies servicecidrs",
    "node.k8s.io": "runtimeclasses",
    "policy": "poddisruptionbudgets",
    "rbac.authorization.k8s.io": "clusterrolebindings clusterroles rolebindings roles",
    "resource.k8s.io": (
        "deviceclasses devicetaintrules resourceclaims resourceclaimtemplates resourcepoolstatusrequests resourceslices"
    ),
    "scheduling.k8s.io": "podgroups priorityclasses workloads",
    "storage.k8s.io": (
        "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses"
    ),
    "storagemigration.k8s.io": "storageversionmigrations",
}
_BUILT_IN = {resource: Resource(group, resource) for group, names in _GROUPS.items() for resource in names.split()}
_ELSEWHERE = {
    "minions": Resource("", "nodes"),
    "controllers": Resource("", "replicationcontrollers"),
    "ingress": Resource("networking.k8s.io", "ingresses"),
    "podsecuritypolicy": Resource("policy", "podsecuritypolicies"),  # until 1.24; whoever upgraded may have them still
}
_TWO_SEGMENTS = {
    "services": {"specs": Resource("", "services"), "endpoints": Resource("", "endpoints")},
}
_OUTSIDE_THE_PREFIX = {b"compact_rev_key": Resource("", "compact_rev_key")}
"""Written by every apiserver's compactor, whatever its prefix (apiserver, storage/etcd3/compact.go)."""


def is_built_in(resource: Resource) -> bool:
    """Whether it is compiled into the apiserver, and can be given an etcd of its own by --etcd-servers-overrides."""
    return not resource.group or resource.group in _GROUPS


class Layout:
    """How the keys of one etcd are laid out: by the ``--etcd-prefix`` of each apiserver that uses it."""

    def __init__(self, prefixes: Iterable[str] = (DEFAULT_PREFIX,)) -> None:
        # A longer prefix is more particular: /registry/wardle wins over /registry.
        self.prefixes = tuple(sorted({normalized(each) for each in prefixes}, key=lambda each: (-len(each), each)))

    def place(self, key: bytes) -> Place:
        """Where ``key`` belongs."""
        for prefix in self.prefixes:
            if key.startswith(prefix):
                found = _resource(key, len(prefix))
                if found is not None:
                    resource, stem = found
                    return Place(resource, str(resource), self._unless_divided(stem))
                break
        own = _OUTSIDE_THE_PREFIX.get(key)
        if own is not None:
            return Place(own, str(own), None)
        return self._foreign(key)

    def runs(self, keys: Sequence[bytes]) -> Iterator[Run]:
        """Sorted ``keys`` as stretches that belong together; costs a few comparisons a stretch, not one a key."""
        first = 0
        while first < len(keys):
            place = self.place(keys[first])
            last = first + 1 if place.stem is None else _end_of(keys, place.stem, first)
            yield Run(place, first, last)
            first = last

    def _foreign(self, key: bytes) -> Place:
        begins = 1 if key.startswith(b"/") else 0
        end = key.find(b"/", begins)
        if end < 0:
            return Place(None, readable(key), None)
        return Place(None, readable(key[:end]), self._unless_divided(key[: end + 1]))

    def _unless_divided(self, stem: bytes | None) -> bytes | None:
        """None where some keys below ``stem`` lie under another configured prefix."""
        if stem is None or any(prefix.startswith(stem) for prefix in self.prefixes):
            return None
        return stem


def normalized(prefix: str) -> bytes:
    """An ``--etcd-prefix`` as keys start with it: ``registry``, ``/registry`` and ``/registry/`` mean the same."""
    inner = prefix.strip("/")
    return f"/{inner}/".encode() if inner else b"/"


def readable(name: bytes) -> str:
    """Bytes as text that any label can hold; what is no UTF-8 shows as a backslash, x and two digits."""
    text = name[:LONGEST_NAME].decode("utf-8", "backslashreplace")
    return text + "…" if len(name) > LONGEST_NAME else text


def _resource(key: bytes, begins: int) -> tuple[Resource, bytes | None] | None:
    """The resource of a key whose prefix ends at ``begins``, and its stem; None when it has none."""
    segments = key[begins:].split(b"/", 3)
    first = readable(segments[0])
    if not first:
        return None
    # A name needs a slash before it: what stands last is a name, and no stem.
    below = segments[1:-1]
    if "." in first:
        return _of_group(first, segments, key, begins)
    if first not in _TWO_SEGMENTS:
        known = _ELSEWHERE.get(first) or _BUILT_IN.get(first) or Resource("", first)
        return known, _stem(key, begins, segments[:1]) if len(segments) > 1 else None
    if not below:
        return Resource("", first), None
    second = readable(below[0])
    known = _TWO_SEGMENTS[first].get(second, Resource("", f"{first}/{second}"))
    return known, _stem(key, begins, segments[:2])


def _of_group(group: str, segments: list[bytes], key: bytes, begins: int) -> tuple[Resource, bytes | None]:
    """A custom resource, or one of an aggregated apiserver: if its own prefix ends in its group, that stands twice."""
    twice = len(segments) > 1 and segments[1] == segments[0]
    below = segments[2:-1] if twice else segments[1:-1]
    if not below or not below[0]:
        return Resource("", group), None
    return Resource(group, readable(below[0])), _stem(key, begins, segments[: 3 if twice else 2])


def _stem(key: bytes, begins: int, segments: list[bytes]) -> bytes:
    return key[: begins + sum(map(len, segments)) + len(segments)]


def _end_of(keys: Sequence[bytes], stem: bytes, low: int) -> int:
    """The index behind the last key that starts with ``stem``, of those from ``low`` on; ``keys[low]`` does."""
    high = len(keys)
    if keys[high - 1].startswith(stem):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if keys[middle].startswith(stem):
            low = middle
        else:
            high = middle
    return high
