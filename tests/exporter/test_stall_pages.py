"""Reading the apiservers' own pages in the background."""

import threading
from collections.abc import Callable, Iterable

from ballast_exporter.stall_pages import EVERY_SECONDS, MOST_RESOURCES, OTHERS, VALID_SECONDS, Pages
from kube_ballast.clients.errors import ClientError, Timeout
from kube_ballast.clients.exposition import Sample

RANGE = {"grpc_method": "Range", "grpc_service": "etcdserverpb.KV", "grpc_type": "unary"}


class FakePage:
    """Gives one call that never ends."""

    def __init__(self) -> None:
        self.start = 1000.0
        self.requests = 1.0
        self.etcd: dict[str, float] = {}
        self.error: ClientError | None = None

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None:
        assert timeout > 0
        if self.error is not None:
            raise self.error
        samples = (
            Sample("process_start_time_seconds", {}, self.start),
            Sample("apiserver_request_total", {"resource": "pods", "verb": "GET", "code": "200"}, self.requests),
            Sample("grpc_client_started_total", RANGE, 1.0),
            Sample("apiserver_storage_size_bytes", {}, 5.0),
            *(Sample("etcd_requests_total", {"type": name}, count) for name, count in self.etcd.items()),
        )
        wanted = set(names)
        for sample in samples:
            assert sample.name in wanted
            take(sample)


def test_a_call_that_does_not_end_gets_older_from_page_to_page() -> None:
    now = [0.0]
    pages, source = Pages(clock=lambda: now[0]), FakePage()
    for _ in range(3):
        pages.read("a", source, 1.0)
        now[0] += EVERY_SECONDS
    progress = pages.progress("a")
    assert progress is not None
    assert progress.oldest_seconds == 2 * EVERY_SECONDS
    assert "the oldest for 30 s or longer" in pages.words("a")[0]


def test_a_restart_begins_anew() -> None:
    now = [0.0]
    pages, source = Pages(clock=lambda: now[0]), FakePage()
    pages.read("a", source, 1.0)
    now[0] += EVERY_SECONDS
    source.start += 15
    pages.read("a", source, 1.0)
    progress = pages.progress("a")
    assert progress is not None
    assert progress.oldest_seconds == 0


def test_an_old_page_is_no_page_and_why_there_is_none_is_said() -> None:
    now = [0.0]
    pages, source = Pages(clock=lambda: now[0]), FakePage()
    pages.read("a", source, 1.0)
    source.error = Timeout("a", "GET /metrics: no whole answer within 30 s")
    now[0] += VALID_SECONDS + 1
    pages.read("a", source, 1.0)
    assert pages.progress("a") is None
    assert pages.words("a") == ("its own metrics cannot be read: GET /metrics: no whole answer within 30 s",)
    source.error = None
    pages.read("a", source, 1.0)
    assert "cannot be read" not in " ".join(pages.words("a"))


def test_each_request_is_counted_before_it_is_sent() -> None:
    stop, asked = threading.Event(), []

    def asks() -> None:
        asked.append(1)
        stop.set()

    Pages().follow("a", FakePage(), asks, stop)
    assert asked == [1]


def test_resources_are_told_by_name_up_to_a_number_and_no_counter_goes_down() -> None:
    pages, source = Pages(), FakePage()
    source.etcd = {f"r{number}": float(number) for number in range(MOST_RESOURCES + 2)}
    pages.read("a", source, 1.0)
    first = pages.progress("a")
    source.etcd = {**source.etcd, "r0": 9000.0}
    pages.read("a", source, 1.0)
    second = pages.progress("a")
    assert first is not None
    assert second is not None
    assert len(first.succeeded) == MOST_RESOURCES + 1
    assert first.succeeded[OTHERS] == 1
    assert second.succeeded[OTHERS] == 9001
    assert "r0" not in second.succeeded


def test_an_address_whose_page_is_anothers_is_no_apiservers_own() -> None:
    now = [0.0]
    pages, one, two = Pages(clock=lambda: now[0]), FakePage(), FakePage()
    two.start += 5
    asked = ("one", "two", "balancer")
    pages.read("balancer", one, 1.0)
    pages.read("one", one, 1.0)
    assert pages.unusable(asked) is None, "the look is not over"
    pages.read("two", two, 1.0)
    unusable = pages.unusable(asked)
    assert unusable is not None
    assert set(unusable) == {"balancer"}, "not the one that was read after it, but the one that is listed after it"
    assert pages.unusable(asked) is None, "nothing new"


def test_a_look_ends_without_whoever_does_not_answer() -> None:
    now = [0.0]
    pages, source = Pages(clock=lambda: now[0]), FakePage()
    pages.read("one", source, 1.0)
    assert pages.unusable(("one", "two")) is None
    now[0] += EVERY_SECONDS
    assert pages.unusable(("one", "two")) == {}
