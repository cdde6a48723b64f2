"""What is made of an apiserver's samples, and whose they are."""

from kube_ballast.analysis.apiserver_identity import Identities
from kube_ballast.analysis.apiserver_requests import METRICS, OTHER, Names, Tally
from kube_ballast.analysis.keyspace import Resource
from kube_ballast.clients.exposition import Filter

CONFIGMAPS, PODS, WIDGETS = Resource("", "configmaps"), Resource("", "pods"), Resource("example.com", "widgets")
A, B, C = "https://a:6443", "https://b:6443", "https://lb:6443"
ONE, TWO, THREE = 1.7e9, 1.7e9 + 0.01, 1.7e9 + 900


def tally(*lines: str) -> Tally:
    result = Tally()
    filter_ = Filter(METRICS, result.take)
    filter_.feed("".join(f"{line}\n" for line in lines).encode())
    filter_.close()
    return result


def requests(resource: str, count: int, code: str = "200", **labels: str) -> str:
    pairs = {"code": code, "group": "", "resource": resource, "verb": "GET", "version": "v1", **labels}
    block = ",".join(f'{name}="{value}"' for name, value in pairs.items())
    return f"apiserver_request_total{{{block}}} {count}"


def test_what_is_not_told_is_summed() -> None:
    found = tally(
        requests("configmaps", 1, scope="namespace"),
        requests("configmaps", 2, "201", scope="resource"),
        requests("configmaps", 4, "404", subresource="status"),
        requests("configmaps", 8, "0"),
        requests("configmaps", 16, verb="LIST"),
    )
    assert found.requests == {
        (CONFIGMAPS, "GET", "2xx"): 3,
        (CONFIGMAPS, "GET", "4xx"): 4,
        (CONFIGMAPS, "GET", "other"): 8,
        (CONFIGMAPS, "LIST", "2xx"): 16,
    }


def test_objects_are_the_same_by_their_old_and_new_labels() -> None:
    old = tally(
        'apiserver_storage_objects{resource="widgets.example.com"} 5', 'apiserver_storage_objects{resource="pods"} 7'
    )
    new = tally(
        'apiserver_resource_objects{group="example.com",resource="widgets"} 5',
        'apiserver_resource_objects{group="",resource="pods"} 7',
    )
    both = tally(
        'apiserver_resource_objects{group="example.com",resource="widgets"} 5',
        'apiserver_storage_objects{resource="widgets.example.com"} 5',
        'apiserver_storage_objects{resource="pods"} 7',
    )
    assert old.objects == new.objects == both.objects == {WIDGETS: 5, PODS: 7}


def test_what_the_apiserver_could_not_count_is_unknown() -> None:
    found = tally(
        'apiserver_storage_objects{resource="pods"} -1',
        'apiserver_resource_objects{group="",resource="pods"} -1',
        'apiserver_resource_size_estimate_bytes{group="",resource="pods"} -1',
        'apiserver_resource_size_estimate_bytes{group="",resource="configmaps"} 0',
    )
    assert (found.objects, found.objects_bytes) == ({}, {CONFIGMAPS: 0})


def test_a_level_that_never_queued_nor_refused_anything_says_so() -> None:
    found = tally(
        'apiserver_flowcontrol_current_inqueue_requests{flow_schema="a",priority_level="low"} 2',
        'apiserver_flowcontrol_current_inqueue_requests{flow_schema="b",priority_level="low"} 3',
        'apiserver_flowcontrol_rejected_requests_total{flow_schema="b",priority_level="low",reason="time-out"} 3',
        'apiserver_flowcontrol_nominal_limit_seats{priority_level="high"} 3',
        'apiserver_flowcontrol_nominal_limit_seats{priority_level="low"} 3',
    )
    assert found.queued == {"low": 5, "high": 0}
    assert found.rejected["low", "time-out"] == 3
    assert found.rejected["high", "queue-full"] == 0


def test_another_component_s_page_is_no_apiservers() -> None:
    assert tally("process_start_time_seconds 1.7e9", requests("pods", 1)).is_an_apiservers
    assert not tally("process_start_time_seconds 1.7e9").is_an_apiservers
    assert not tally(requests("pods", 1)).is_an_apiservers


def test_names_go_to_the_busiest_and_stay() -> None:
    names = Names(2)
    names.learn([tally(requests("pods", 10), requests("leases", 1)), tally(requests("configmaps", 5))])
    assert [names.name(each) for each in (PODS, CONFIGMAPS, Resource("", "leases"))] == [PODS, CONFIGMAPS, OTHER]
    names.learn([tally(requests("leases", 1000), requests("nodes", 1000))])
    assert names.name(PODS) == PODS
    assert names.name(Resource("", "leases")) == names.name(Resource("", "nodes")) == OTHER
    assert names.left_out == 2


def test_names_are_given_as_resources_come() -> None:
    names = Names(2)
    names.learn([tally(requests("pods", 10))])
    names.learn([tally('apiserver_storage_objects{resource="configmaps"} 7')])
    assert (names.name(CONFIGMAPS), names.left_out) == (CONFIGMAPS, 0)


def page(start: float, count: int = 1, resource: str = "pods") -> Tally:
    return tally(f"process_start_time_seconds {start}", requests("nodes", 7), requests(resource, count))


def test_a_restart_is_no_load_balancer() -> None:
    identities = Identities()
    for process in (ONE, ONE, TWO, TWO, THREE):
        assert identities.unusable({A: page(process)}) == {}


def test_an_address_at_which_apiservers_take_turns_is_a_load_balancers_for_good() -> None:
    identities = Identities()
    assert identities.unusable({C: page(ONE)}) == {}
    assert identities.unusable({C: page(THREE)}) == {}
    why = identities.unusable({C: page(ONE)})[C]
    assert "(one started 2023-11-14 22:13:20 UTC, one started 2023-11-14 22:28:20 UTC)" in why
    assert identities.unusable({C: page(ONE)}) == {C: why}
    assert identities.unusable({}) == {}


def test_two_addresses_of_one_apiserver_count_once() -> None:
    identities = Identities()
    why = identities.unusable({A: page(ONE, 3), C: page(ONE, 2), B: page(TWO)})
    assert list(why) == [C]
    assert f"the same apiserver as {A} (started 2023-11-14 22:13:20 UTC)" in why[C]


def test_the_address_that_was_always_the_same_apiservers_is_the_one_that_counts() -> None:
    identities = Identities()
    first, second, third = page(ONE), page(TWO), page(THREE)
    assert list(identities.unusable({C: first, A: first, B: second})) == [A]
    assert list(identities.unusable({C: second, A: first, B: second})) == [C]
    assert list(identities.unusable({C: first, A: first, B: second})) == [C]
    assert list(identities.unusable({C: third, A: first, B: second})) == [C]


def test_an_apiserver_that_comes_back_at_its_own_address_is_not_blamed_for_the_load_balancer() -> None:
    identities = Identities()
    identities.unusable({A: page(ONE), C: page(ONE)})
    identities.unusable({C: page(THREE)})  # it was restarted and could not be read itself
    assert list(identities.unusable({A: page(THREE), C: page(THREE)})) == [C]


def test_apiservers_that_were_started_together_are_told_apart_by_what_they_count() -> None:
    identities = Identities()
    assert identities.unusable({A: page(ONE, 5, "pods"), B: page(ONE, 5, "configmaps")}) == {}
    assert identities.unusable({A: page(ONE, 6, "pods"), B: page(ONE, 6, "configmaps")}) == {}
    balanced = Identities()
    for number, resource in enumerate(("pods", "configmaps", "pods"), 1):
        why = balanced.unusable({C: page(ONE, number, resource)})
    assert "a load balancer" in why[C]


def test_pages_of_one_apiserver_read_side_by_side_may_each_be_ahead() -> None:
    identities = Identities()
    assert list(identities.unusable({A: page(ONE, 1), C: page(ONE, 1)})) == [C]
    ahead = tally(f"process_start_time_seconds {ONE}", requests("nodes", 9), requests("pods", 1))
    assert list(identities.unusable({A: page(ONE, 5), C: ahead})) == [C]


def test_those_that_looked_like_one_at_first_are_told_apart_later() -> None:
    identities = Identities()
    assert list(identities.unusable({A: page(ONE, 1), B: page(ONE, 100)})) == [B]
    assert identities.unusable({A: page(ONE, 2), B: page(ONE, 101)}) == {}
