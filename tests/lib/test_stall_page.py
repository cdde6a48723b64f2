"""What an apiserver's own counts say of its way to etcd."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.stall_page import METRICS, Page, failing_resources, oldest_call, progress, same_process
from kube_ballast.clients.exposition import Filter

UNARY = 'grpc_service="etcdserverpb.KV",grpc_type="unary"'


def page(text: str, began: float = 0.0) -> Page:
    """As it is read, in one second."""
    read = Page(began)
    wanted = Filter(METRICS, read.take)
    wanted.feed(text.encode())
    wanted.close()
    read.ended = began + 1
    return read


def counted(began: float, started: Mapping[str, float], handled: Mapping[str, float]) -> Page:
    read = Page(began, began + 1)
    read.started.update(started)
    read.handled.update(handled)
    return read


def test_open_calls_are_those_that_began_and_did_not_end() -> None:
    read = page(
        f'grpc_client_started_total{{grpc_method="Range",{UNARY}}} 20\n'
        f'grpc_client_handled_total{{grpc_code="OK",grpc_method="Range",{UNARY}}} 5\n'
        f'grpc_client_handled_total{{grpc_code="Internal",grpc_method="Range",{UNARY}}} 2\n'
        f'grpc_client_started_total{{grpc_method="Txn",{UNARY}}} 7\n'
        f'grpc_client_handled_total{{grpc_code="OK",grpc_method="Txn",{UNARY}}} 8\n'
    )
    assert read.open_calls() == {"Range": 13, "Txn": 0}
    assert read.codes == {"OK": 13, "Internal": 2}


def test_watches_and_calls_to_others_than_etcd_are_not_counted() -> None:
    read = page(
        'grpc_client_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 9\n'
        'grpc_client_started_total{grpc_method="Encrypt",grpc_service="v2.KeyManagementService",grpc_type="unary"} 9\n'
    )
    assert not read.open_calls()


@pytest.mark.parametrize(
    ("labels", "resource"),
    [
        ('operation="get",type="leases.coordination.k8s.io"', "leases.coordination.k8s.io"),
        ('operation="get",group="coordination.k8s.io",resource="leases"', "leases.coordination.k8s.io"),
        ('operation="get",group="",resource="configmaps"', "configmaps"),
        ('operation="get",type="configmaps"', "configmaps"),
    ],
)
def test_both_forms_of_a_resources_name_are_one(labels: str, resource: str) -> None:
    read = page(f"etcd_requests_total{{{labels}}} 5\netcd_request_errors_total{{{labels}}} 2\n")
    assert read.succeeded() == {resource: 3}


def test_a_resource_fails_when_its_requests_end_in_errors_and_in_nothing_else() -> None:
    before = page('etcd_requests_total{type="a"} 5\netcd_requests_total{type="b"} 5\netcd_requests_total{type="c"} 5\n')
    after = page(
        'etcd_requests_total{type="a"} 8\netcd_request_errors_total{type="a"} 3\n'
        'etcd_requests_total{type="b"} 9\netcd_request_errors_total{type="b"} 3\n'
        'etcd_requests_total{type="c"} 5\n'
    )
    assert failing_resources(before, after) == ("a",)


def test_a_restart_is_another_process() -> None:
    pages = [page(f"process_start_time_seconds {start}\n") for start in (100.5, 100.5, 200.5)]
    assert same_process(pages[0], pages[1])
    assert not same_process(pages[1], pages[2])


def test_a_call_that_stays_open_gets_older_with_each_page() -> None:
    pages = [counted(at, {"Range": 10}, {"Range": 9}) for at in (0.0, 15.0, 30.0)]
    assert oldest_call(pages[:1]) == 0
    assert oldest_call(pages[:2]) == 14
    assert oldest_call(pages) == 29


def test_calls_that_may_have_ended_in_turn_are_not_taken_for_one_old_one() -> None:
    assert oldest_call([counted(0.0, {"Range": 10}, {"Range": 9}), counted(15.0, {"Range": 11}, {"Range": 10})]) == 0


calls = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=12)


@given(calls, st.lists(st.floats(0, 200), min_size=2, max_size=5).map(sorted))
def test_the_oldest_call_is_never_said_to_be_older_than_it_is(
    durations: list[tuple[float, float]], looks: list[float]
) -> None:
    spans = [(begins, begins + lasts) for begins, lasts in durations]
    pages = []
    for at in looks:
        read = Page(at, at)
        read.started["Range"] = sum(begins <= at for begins, _ in spans)
        read.handled["Range"] = sum(ends <= at for _, ends in spans)
        pages.append(read)
    now = looks[-1]
    ages = [now - begins for begins, ends in spans if begins <= now < ends]
    assert oldest_call(pages) <= max(ages, default=0.0)


def test_the_words_name_what_is_wrong_and_nothing_where_nothing_is() -> None:
    well = page("apiserver_storage_size_bytes 5\n")
    assert progress([well]).words() == ()
    sick = counted(15.0, {"Range": 13, "Txn": 7}, {})
    (words,) = progress([counted(0.0, {"Range": 9, "Txn": 7}, {}), sick]).words()
    assert words == (
        "by its own metrics: calls to etcd do not end (13 Range, 7 Txn; the oldest for 14 s or longer); "
        "it cannot say how large etcd is"
    )
