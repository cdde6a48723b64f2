"""Events get their keys, and each request is counted once."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.audit_clients import Key, Namer, Once
from kube_ballast.clients.audit import Event, ObjectRef, Status, User, decode_list
from kube_ballast.clients.errors import BadResponse


def event(username: str = "jane", agent: str = "kubectl/v1.36.0 (linux/amd64)", **changes: object) -> Event:
    made = Event(
        stage="ResponseComplete",
        audit_id="a",
        verb="list",
        user=User(username),
        user_agent=agent,
        object_ref=ObjectRef("pods"),
        response_status=Status(200),
        received="2026-11-24T03:00:00.000001Z",
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("given_", "field", "told"),
    [
        (event("system:node:worker-1"), "client", "nodes"),
        (event("system:serviceaccount:shop:cart"), "client", "system:serviceaccount:shop:cart"),
        (event(""), "client", "(unknown)"),
        (event("j" * 1_000_000), "client", "j" * 200 + "…"),
        (event(agent="Mozilla/5.0 (X11)"), "user_agent", "Mozilla"),
        (event(agent="my agent"), "user_agent", "my"),
        (event(agent=""), "user_agent", "(unknown)"),
        (event(object_ref=ObjectRef("deployments", "scale", "apps")), "resource", "deployments/scale.apps"),
        (event(object_ref=ObjectRef("jobs", api_group="batch")), "resource", "jobs.batch"),
        (event(object_ref=None), "resource", ""),
        (event(object_ref=ObjectRef("pods", namespace="shop")), "namespace", "shop"),
        (event(response_status=Status(429)), "code", "4xx"),
        (event(response_status=Status(101)), "code", "1xx"),
        (event(response_status=None), "code", "other"),
        (event(response_status=Status(70000)), "code", "other"),
    ],
)
def test_a_key_says_who_asked_for_what(given_: Event, field: str, told: str) -> None:
    assert getattr(Namer().key(given_), field) == told


def test_nodes_are_grouped_by_a_pattern_of_their_names() -> None:
    namer = Namer(re.compile("^([a-z]*)-"))
    found = [namer.key(event(f"system:node:{name}")).client for name in ("gpu-1", "gpu-2", "worker", "-1")]
    assert found == ["nodes:gpu", "nodes:gpu", "nodes", "nodes"]


def test_a_request_counts_at_its_end_and_once() -> None:
    once = Once()
    stages = ("RequestReceived", "ResponseStarted", "ResponseComplete")
    assert [once.ends(event(stage=stage)) for stage in stages] == [False, False, True]
    assert not once.ends(event())
    assert once.ends(event(stage="Panic", audit_id="b"))
    assert once.replays == 1


def test_a_client_that_reuses_an_audit_id_does_not_hide() -> None:
    once = Once()
    assert all(once.ends(event(received=f"2026-11-24T03:00:00.{number:06}Z")) for number in range(1000))


def test_the_last_requests_are_known_again_and_memory_is_bounded() -> None:
    once = Once(remembered=100)
    for number in range(1000):
        assert once.ends(event(audit_id=str(number)))
        assert len(once._new) + len(once._old) <= 200
    assert not any(once.ends(event(audit_id=str(number))) for number in range(900, 1000))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_no_event_list_is_one_error(body: bytes) -> None:
    with pytest.raises(BadResponse):
        decode_list(body, "test")


@given(st.text(), st.text(), st.text(), st.text(), st.integers(0, 1000))
def test_whatever_a_client_sends_its_key_is_short(name: str, agent: str, one: str, two: str, code: int) -> None:
    key = Namer().key(event(name, agent, object_ref=ObjectRef(one, two, one, two), response_status=Status(code)))
    assert isinstance(key, Key)
    assert all(len(part) <= 201 for part in key)
