"""What of the probes' answers is evidence."""

from typing import Final

from ballast_exporter.stall_history import FORGET_SECONDS, STOOD_SECONDS, VALID_SECONDS, History, Row
from kube_ballast.analysis.stall import Answer, Measured

WALL: Final = 1_700_000_000.0


class Time:
    """A clock that is set by hand, and a history that lives by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.history = History(lambda: self.now, lambda: WALL)

    def lives(self, seconds: float) -> None:
        """Time passes, and the process with it."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.25, end)
            self.history.tick()

    def stands(self, seconds: float) -> None:
        """Time passes, the process stands still."""
        self.now += seconds

    def answer(self, answer: Answer, *, probe: str = "pods", took: float = 0.5) -> None:
        began = self.now
        self.lives(took)
        self.history.add("a", probe, began, answer)

    def pods(self, up: float | None = None) -> Measured | None:
        return self.history.measured("a", "pods", up=up)


def test_failures_are_counted_in_a_row() -> None:
    time = Time()
    for answer in (Answer.TIMEOUT, Answer.OK, Answer.TIMEOUT, Answer.ERROR):
        time.answer(answer)
    assert time.pods() == Measured(Answer.ERROR, 2, 3)


def test_failures_of_different_kinds_confirm_nothing_of_each_other() -> None:
    time = Time()
    for answer in (Answer.REFUSED, Answer.REFUSED, Answer.TIMEOUT):
        time.answer(answer)
    assert time.pods() == Measured(Answer.TIMEOUT, 1, 3)
    time.answer(Answer.ERROR)
    assert time.pods() == Measured(Answer.ERROR, 2, 4)


def test_a_member_is_back_for_about_as_long_as_it_was_gone() -> None:
    time = Time()
    time.answer(Answer.REFUSED, took=0.0)
    assert not time.history.back("a", "pods")
    for _ in range(4):
        time.lives(10.0)
        time.answer(Answer.REFUSED, took=0.0)
    time.answer(Answer.OK, took=0.0)
    time.lives(40.0)
    assert time.history.back("a", "pods")
    time.lives(11.0)
    assert not time.history.back("a", "pods")


def test_what_was_well_before_a_failure_began_is_no_evidence_of_its_cause() -> None:
    time = Time()
    time.answer(Answer.OK, probe="linearizable")
    time.answer(Answer.TIMEOUT)
    assert time.history.failing("a", "pods") is None, "once is no failure yet"
    time.answer(Answer.TIMEOUT)
    assert time.history.failing("a", "pods") == Row(100.5, ((101.0, 101.5),))
    assert time.history.measured("a", "linearizable", 100.5) is None
    time.answer(Answer.OK, probe="linearizable")
    assert time.history.measured("a", "linearizable", 100.5)


def test_who_answers_well_between_two_failures_does_not_stand_still() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT, took=1.0)
    time.answer(Answer.OK, probe="ping", took=0.25)
    time.answer(Answer.SLOW, probe="linearizable", took=0.25)
    time.answer(Answer.TIMEOUT, took=1.0)
    assert time.history.failing("a", "pods") == Row(100.0, ((101.5, 102.5),))
    assert time.history.well_between("a", "ping", 100.0, 101.5)
    assert not time.history.well_between("a", "ping", 101.5, 102.5)
    assert not time.history.well_between("a", "linearizable", 100.0, 101.5), "late is not well"


def test_who_answers_only_after_the_last_failure_had_begun_may_have_stood_still() -> None:
    """As an apiserver that stands still for 2.5 s: the read's second failure ends when all else is well again."""
    time = Time()
    time.answer(Answer.OK, probe="ping", took=0.0)
    time.lives(0.25)
    time.answer(Answer.TIMEOUT, took=1.0)
    time.lives(0.25)
    began = time.now
    time.lives(0.75)
    time.answer(Answer.OK, probe="ping", took=0.0)
    time.lives(0.25)
    time.history.add("a", "pods", began, Answer.TIMEOUT)
    assert time.history.failing("a", "pods") == Row(100.25, ((101.5, 102.5),))
    assert not time.history.well_between("a", "ping", 100.25, 101.5)


def test_a_late_answer_of_the_last_seconds_counts_also_when_it_is_well_again() -> None:
    time = Time()
    time.answer(Answer.SLOW)
    time.answer(Answer.OK)
    assert time.pods() == Measured(Answer.OK, 0, 1)


def test_an_answer_gets_too_old_to_be_evidence_or_to_be_told() -> None:
    time = Time()
    time.answer(Answer.OK)
    assert time.history.told("a", "pods").seconds == 0.5
    time.lives(VALID_SECONDS + 1)
    assert time.pods() is None
    told = time.history.told("a", "pods")
    assert told.seconds is None
    assert told.answers == {Answer.OK: 1}
    assert told.succeeded_at == WALL


def test_how_long_it_took_is_told_only_of_an_answer() -> None:
    time = Time()
    time.answer(Answer.OK)
    time.answer(Answer.TIMEOUT)
    assert time.history.told("a", "pods").seconds is None


def test_what_fails_while_we_stand_still_is_no_evidence() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT)  # a failure that is none of ours
    began = time.now
    time.stands(STOOD_SECONDS + 0.5)
    time.history.add("a", "pods", began, Answer.TIMEOUT)
    assert time.pods() == Measured(Answer.TIMEOUT, 1, 1)


def test_two_failures_that_come_of_a_standstill_name_nobody() -> None:
    time = Time()
    for probe in ("ping", "pods", "canary"):
        time.answer(Answer.OK, probe=probe)
    began = time.now
    time.stands(10.0)
    for probe in ("ping", "pods", "canary"):
        time.history.add("a", probe, began, Answer.TIMEOUT)
        time.history.add("a", probe, began + 1.2, Answer.TIMEOUT)
        assert time.history.measured("a", probe) is None
    time.answer(Answer.OK)
    assert time.pods() == Measured(Answer.OK)


def test_after_a_long_standstill_no_old_name_is_known() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT)
    time.answer(Answer.TIMEOUT)
    assert time.pods() == Measured(Answer.TIMEOUT, 2, 2)
    time.stands(FORGET_SECONDS + 1)
    assert time.pods() is None
    assert time.history.failing("a", "pods") is None
    assert "stood still for 6 s" in time.history.notes()[0]
    time.lives(VALID_SECONDS + 1)
    assert time.history.notes() == ()


def test_a_clock_that_goes_back_makes_nothing_last_longer() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT)
    time.answer(Answer.TIMEOUT)
    time.now -= 3600
    assert time.pods() is None


def test_what_failed_while_the_server_did_not_answer_at_all_says_nothing_of_its_way_to_etcd() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT, probe="ping")
    time.answer(Answer.TIMEOUT)
    time.answer(Answer.TIMEOUT, probe="ping")
    time.answer(Answer.TIMEOUT)
    time.answer(Answer.OK, probe="ping")
    up = time.history.up_since("a", "ping")
    assert up == 102.0
    assert time.pods(up) is None
    time.answer(Answer.TIMEOUT)
    assert time.pods(up) == Measured(Answer.TIMEOUT, 1, 1)
    time.answer(Answer.TIMEOUT)
    assert time.pods(up) == Measured(Answer.TIMEOUT, 2, 2)


def test_one_ping_that_got_lost_is_no_restart_and_one_that_was_refused_is() -> None:
    for answer, restarted in ((Answer.TIMEOUT, False), (Answer.REFUSED, True)):
        time = Time()
        time.answer(answer, probe="ping")
        time.answer(Answer.OK, probe="ping")
        assert (time.history.up_since("a", "ping") is not None) is restarted


def test_what_was_late_long_before_something_failed_does_not_explain_it() -> None:
    time = Time()
    time.answer(Answer.SLOW, probe="ping")
    time.answer(Answer.OK, probe="ping")
    late = time.history.measured("a", "ping", since=101.5)
    assert late is None, "it began before"
    time.lives(1.0)
    time.answer(Answer.OK, probe="ping")
    assert time.history.measured("a", "ping", since=102.0) == Measured(Answer.OK, 0, 1)
    assert time.history.measured("a", "ping", since=102.0 + 0.25) is None
    time.lives(1.0)
    time.answer(Answer.OK, probe="ping")
    assert time.history.measured("a", "ping", since=103.5) == Measured(Answer.OK)


def test_a_failure_of_long_ago_is_not_confirmed_by_one_now() -> None:
    time = Time()
    time.answer(Answer.TIMEOUT)
    time.lives(VALID_SECONDS + 1)
    time.answer(Answer.TIMEOUT)
    assert time.pods() == Measured(Answer.TIMEOUT, 1, 1)


def test_any_probe_that_is_refused_shows_a_restart() -> None:
    """A ping is made every 2 s, and a restart may take less."""
    time = Time()
    time.answer(Answer.OK, probe="ping")
    time.answer(Answer.REFUSED)
    time.answer(Answer.OK, probe="ping")
    assert time.history.up_since("a", "ping") == 101.0


def test_after_a_long_standstill_whoever_answers_may_have_been_started_meanwhile() -> None:
    time = Time()
    time.answer(Answer.OK, probe="ping")
    time.stands(FORGET_SECONDS + 1)
    time.history.tick()
    time.answer(Answer.OK, probe="ping")
    assert time.history.up_since("a", "ping") == 106.5
