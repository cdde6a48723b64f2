"""Whose a key is: Kubernetes' own paths, custom ones, and keys that nobody promised anything about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.keyspace import LONGEST_NAME, Layout, Resource, normalized, readable


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (b"/registry/pods/default/web-1", "pods"),
        (b"/registry/minions/node-1", "nodes"),
        (b"/registry/controllers/default/rc", "replicationcontrollers"),
        (b"/registry/services/specs/default/web", "services"),
        (b"/registry/services/endpoints/default/web", "endpoints"),
        (b"/registry/services/else/default/web", "services/else"),
        (b"/registry/services/web", "services"),
        (b"/registry/ingress/default/web", "ingresses.networking.k8s.io"),
        (b"/registry/deployments/default/web", "deployments.apps"),
        (b"/registry/leases/kube-node-lease/node-1", "leases.coordination.k8s.io"),
        (b"/registry/events/default/web-1.17f", "events"),
        (b"/registry/ipaddresses/10.0.0.1", "ipaddresses.networking.k8s.io"),
        (b"/registry/ranges/serviceips", "ranges"),
        (b"/registry/masterleases/10.0.0.1", "masterleases"),
        (b"/registry/peerserverleases/apiserver-x", "peerserverleases"),
        (b"/registry/health", "health"),
        (b"/registry/apiregistration.k8s.io/apiservices/v1.apps", "apiservices.apiregistration.k8s.io"),
        (
            b"/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
            "customresourcedefinitions.apiextensions.k8s.io",
        ),
        (b"/registry/cert-manager.io/certificates/default/web", "certificates.cert-manager.io"),
        (b"/registry/example.com/widgets/one", "widgets.example.com"),
        (b"/registry/wardle.example.com/wardle.example.com/flunders/ns/f", "flunders.wardle.example.com"),
        (b"/registry/example.com", "example.com"),
        (b"/registry/example.com/", "example.com"),
        (b"/registry/example.com/example.com/one", "example.com"),
        (b"compact_rev_key", "compact_rev_key"),
    ],
)
def test_a_kubernetes_key_names_its_resource(key: bytes, resource: str) -> None:
    place = Layout().place(key)
    assert (str(place.resource), place.name) == (resource, resource)


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        (b"cilium/state/identities/v1/id/1", "cilium"),
        (b"/calico/ipam/v2/host", "/calico"),
        (b"/registry-old/pods/default/web", "/registry-old"),
        (b"/registry", "/registry"),
        (b"/registry/", "/registry"),
        (b"/registry//pods", "/registry"),
        (b"compact_rev_key_apiserver", "compact_rev_key_apiserver"),
        (b"\xff\xfe/x", r"\xff\xfe"),
        (b"\0", "\0"),
        (b"k" * 500, "k" * LONGEST_NAME + "…"),
    ],
)
def test_a_foreign_key_is_told_by_its_first_segment(key: bytes, owner: str) -> None:
    place = Layout().place(key)
    assert (place.resource, place.name) == (None, owner)


@pytest.mark.parametrize("prefix", ["/registry", "registry", "/registry/", "registry/"])
def test_a_prefix_means_the_same_with_and_without_slashes(prefix: str) -> None:
    assert normalized(prefix) == b"/registry/"
    assert Layout([prefix]).place(b"/registry/pods/a/b").resource == Resource("", "pods")


def test_several_apiservers_share_an_etcd() -> None:
    layout = Layout(["kubernetes.io", "/openshift.io", "/kubernetes.io/nested"])
    assert layout.place(b"/kubernetes.io/pods/a/b").resource == Resource("", "pods")
    assert layout.place(b"/openshift.io/images/sha256:1").resource == Resource("", "images")
    assert layout.place(b"/kubernetes.io/nested/secrets/a/b").resource == Resource("", "secrets")
    assert layout.place(b"/registry/pods/a/b").resource is None
    assert Layout(["/"]).place(b"/pods/a/b").resource == Resource("", "pods")


SEGMENT = st.sampled_from(
    [
        "",
        "registry",
        "pods",
        "services",
        "specs",
        "endpoints",
        "example.com",
        "widgets",
        "minions",
        "kubernetes.io",
        "x",
    ]
).map(str.encode) | st.binary(max_size=4)
START = st.sampled_from(
    [b"", b"/", b"/registry/", b"/kubernetes.io/", b"/registry/services/", b"/registry/example.com/"]
)
KEYS = st.tuples(START, st.lists(SEGMENT, min_size=1, max_size=6).map(b"/".join)).map(b"".join).filter(bool)
LAYOUTS = st.sampled_from(
    [Layout(), Layout(["/"]), Layout(["kubernetes.io", "/registry"]), Layout(["/registry", "/registry/example.com"])]
)


@given(LAYOUTS, KEYS, st.binary(max_size=5))
def test_whatever_starts_with_a_stem_belongs_to_its_place(layout: Layout, key: bytes, more: bytes) -> None:
    place = layout.place(key)
    if place.stem is not None:
        assert key.startswith(place.stem)
        assert layout.place(place.stem + more) == place


@given(LAYOUTS, st.lists(KEYS, unique=True).map(sorted))
def test_runs_put_each_key_where_it_belongs(layout: Layout, keys: list[bytes]) -> None:
    placed = [run.place for run in layout.runs(keys) for _ in keys[run.first : run.last]]
    assert placed == [layout.place(key) for key in keys]


@given(st.binary())
def test_any_name_can_be_a_label(name: bytes) -> None:
    assert bool(readable(name).encode("utf-8")) == bool(name)
