"""The core's promises, on a clock that the test moves."""

import threading

import pytest
from prometheus_client.core import GaugeMetricFamily

from ballast_exporter.contract import RequestCounter, Snapshot
from ballast_exporter.core import STUCK_AFTER_SECONDS, Core, Running
from kube_ballast.clients.errors import Unavailable
from tests.exporter.fakes import FakeClock, FakePoll, core_of, snapshot
from tests.waiting import eventually


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def text(core: Core) -> str:
    return core.exposition()[0].decode()


def hang(core: Core, poll: FakePoll) -> threading.Thread:
    """Poll in the background until the collector is inside its call and stays there."""
    poll.hangs = True
    poll.entered.clear()
    thread = threading.Thread(target=core.slots[0].poll)
    thread.start()
    assert poll.entered.wait(10)
    return thread


def release(poll: FakePoll, thread: threading.Thread) -> None:
    poll.release.set()
    thread.join(10)
    assert not thread.is_alive()


def test_before_the_first_poll_nothing_is_claimed(clock: FakeClock) -> None:
    core = core_of(FakePoll(), clock=clock)
    assert not core.ready()
    assert "ballast_collector_success{" not in text(core)
    assert "ballast_fake_value" not in text(core)


def test_a_success_is_exposed_with_its_self_metrics(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    core.slots[0].poll()
    core.slots[0].requests.count("etcd", "https://etcd:2379")
    assert core.ready()
    assert poll.calls == [5.0], "the collector is told its deadline"
    exposed = text(core)
    assert "ballast_fake_value 1.0\n" in exposed
    assert 'ballast_collector_success{collector="one"} 1.0\n' in exposed
    assert 'ballast_collector_duration_seconds{collector="one"} 0.0\n' in exposed
    assert 'ballast_collector_last_success_timestamp_seconds{collector="one"} 1.700001e+09\n' in exposed
    assert 'ballast_source_requests_total{collector="one",kind="etcd",target="https://etcd:2379"} 1.0\n' in exposed
    assert "ballast_exporter_build_info{version=" in exposed


def test_a_failed_poll_drops_its_families_at_once_and_costs_no_other(clock: FakeClock) -> None:
    def fail() -> Snapshot:
        raise Unavailable("https://etcd:2379", "Status: connection refused")

    poll, other = FakePoll(), FakePoll(lambda: Snapshot(()))
    core = core_of(poll, other, clock=clock)
    for slot in core.slots:
        slot.poll()
    poll.answer = fail
    core.slots[0].poll()
    exposed = text(core)
    assert "ballast_fake_value" not in exposed
    assert 'ballast_collector_success{collector="one"} 0.0' in exposed
    assert 'ballast_collector_success{collector="two"} 1.0' in exposed
    assert 'last_success_timestamp_seconds{collector="one"} 1.700001e+09' in exposed, "the last success stays known"
    assert core.slots[0].state.error == "https://etcd:2379: Status: connection refused"


def test_any_exception_is_isolated_and_named(clock: FakeClock) -> None:
    def fail() -> Snapshot:
        raise ZeroDivisionError("oops")

    core = core_of(FakePoll(fail), clock=clock)
    core.slots[0].poll()
    assert core.slots[0].state.error == "ZeroDivisionError: oops"
    assert 'ballast_collector_success{collector="one"} 0.0' in text(core)


def test_a_family_that_cannot_be_written_fails_its_collector_and_no_scrape(clock: FakeClock) -> None:
    def broken() -> Snapshot:
        family = GaugeMetricFamily("ballast_fake_value", "A value.")
        family.add_metric([], "no number")
        return Snapshot((family,))

    core = core_of(FakePoll(broken), clock=clock)
    core.slots[0].poll()
    assert 'ballast_collector_success{collector="one"} 0.0' in text(core)


def test_a_hung_polls_last_snapshot_leaves_after_three_intervals(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    core.slots[0].poll()
    thread = hang(core, poll)
    clock.now += 9
    assert 'ballast_collector_success{collector="one"} 1.0' in text(core)
    clock.now += 2  # longer than an interval: known to be late
    assert 'ballast_collector_success{collector="one"} 0.0' in text(core)
    assert "has not come back for 11 s" in str(core.slots[0].state.error)
    assert "ballast_fake_value" in text(core), "still young enough"
    clock.now += 19
    assert "ballast_fake_value" in text(core)
    clock.now += 1
    assert "ballast_fake_value" not in text(core)
    release(poll, thread)


def test_a_late_result_is_dropped_and_the_next_one_counts_again(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    thread = hang(core, poll)
    clock.now += 12
    release(poll, thread)
    exposed = text(core)
    assert "ballast_fake_value" not in exposed
    assert 'ballast_collector_success{collector="one"} 0.0' in exposed
    assert 'ballast_collector_duration_seconds{collector="one"} 12.0' in exposed
    assert "took 12.0 s" in str(core.slots[0].state.error)
    core.slots[0].poll()
    assert "ballast_fake_value" in text(core)
    assert core.slots[0].state.error is None


def test_a_hung_poll_is_never_run_a_second_time_beside_itself(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    thread = hang(core, poll)
    for _ in range(5):
        clock.now += 10
        core.slots[0].poll()
    assert len(poll.calls) == 1
    release(poll, thread)


def test_a_hung_first_poll_makes_ready_but_not_successful(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    thread = hang(core, poll)
    assert not core.ready()
    clock.now += 11
    assert core.ready(), "it was tried; the others' metrics are worth scraping"
    release(poll, thread)


def test_stuck_for_minutes_is_told_and_over_when_the_poll_comes_back(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    thread = hang(core, poll)
    clock.now += STUCK_AFTER_SECONDS
    assert core.stuck() == ()
    clock.now += 1
    assert core.stuck() == ("one",)
    release(poll, thread)
    assert core.stuck() == ()


def test_slow_collectors_are_stuck_only_after_their_own_intervals(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock, interval=600)
    thread = hang(core, poll)
    clock.now += 4 * 600
    assert core.stuck() == ()
    clock.now += 1
    assert core.stuck() == ("one",)
    release(poll, thread)


def test_a_scrape_waits_for_no_hung_collector(clock: FakeClock) -> None:
    poll = FakePoll()
    core = core_of(poll, clock=clock)
    thread = hang(core, poll)
    assert b"ballast_exporter_build_info" in core.exposition()[0]  # returns although the collector does not
    release(poll, thread)


def test_openmetrics_is_given_to_who_asks_for_it(clock: FakeClock) -> None:
    core = core_of(FakePoll(), FakePoll(lambda: Snapshot(())), clock=clock)
    for slot in core.slots:
        slot.poll()
    body, content_type = core.exposition("application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert body.count(b"# EOF") == 1
    core.slots[0].poll()
    assert b"ballast_fake_value 1.0" in core.exposition("application/openmetrics-text;version=1.0.0")[0]


def test_threads_poll_each_collector_and_end_with_stop() -> None:
    poll, hung = FakePoll(), FakePoll(hangs=True)
    running = [Running("one", poll, 0.01, 0.01, RequestCounter()), Running("two", hung, 0.01, 0.01, RequestCounter())]
    core = Core(running)
    core.start()
    eventually(lambda: len(poll.calls) > 5)
    assert hung.entered.wait(10)
    assert len(hung.calls) == 1
    hung.release.set()
    core.stop()
    assert poll.closed
    assert hung.closed
    calls = len(poll.calls)
    assert not [thread for thread in threading.enumerate() if thread.name in {"one", "two"}]
    assert len(poll.calls) == calls


class FakeStream:
    """Runs until it is told to fail or stop."""

    def __init__(self) -> None:
        self.fails = threading.Event()
        self.runs = 0

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        while not stop.wait(0.005):
            if self.fails.is_set():
                self.fails.clear()
                raise Unavailable("https://apiserver:6443", "the watch broke")

    def snapshot(self) -> Snapshot:
        return snapshot(self.runs)

    def close(self) -> None:
        pass


def test_a_stream_is_told_while_it_runs_and_run_again_after_it_broke() -> None:
    stream = FakeStream()
    core = Core([Running("one", stream, 0.05, 0.05, RequestCounter())])
    core.start()
    eventually(lambda: "ballast_fake_value 1.0" in text(core))
    stream.fails.set()
    eventually(lambda: 'ballast_collector_success{collector="one"} 0.0' in text(core))
    eventually(lambda: "ballast_fake_value 2.0" in text(core))
    core.stop()
