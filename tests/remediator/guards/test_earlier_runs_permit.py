from dataclasses import replace

import pytest

from ballast_remediator.contract import Action, Answer, Jump, Succession, Target, Verdict
from ballast_remediator.guards.earlier_runs_permit import earlier_runs_permit
from tests.remediator.guards.book import NOW, Book, request

CUT = Target("here", "apiserver-cut-etcd-connections", "a:6443")
CUT_B = Target("here", "apiserver-cut-etcd-connections", "b:6443")
RESTART = Target("here", "apiserver-restart", "a:6443")
ALL = (CUT, CUT_B, RESTART)
VAIN = Action("f00", "(cut) ended as failed", NOW - 20.0, in_vain=True)
DONE = Action("f01", "(cut) ended as succeeded", NOW - 20.0)
AFTER_CUT = Succession(after=ALL, rest=300.0, since=NOW - 1000.0)
AFTER_VAIN_CUT = Succession(after=ALL, rest=300.0, follows=CUT, within=1800.0, since=NOW - 1000.0)


def asked(target: Target, succession: Succession, actions: dict[Target, Action], jump: Jump | None = None) -> Answer:
    return earlier_runs_permit(request(target=target, succession=succession), Book(actions=actions, jump=jump))


def test_a_runbook_that_asks_nothing_of_earlier_runs() -> None:
    assert asked(CUT, Succession(), {CUT: VAIN}).verdict is Verdict.ALLOW


def test_nothing_was_done_yet() -> None:
    assert asked(CUT, AFTER_CUT, {}).verdict is Verdict.ALLOW


@pytest.mark.parametrize("target", ALL)
def test_between_two_in_a_cluster_some_time_passes(target: Target) -> None:
    said = asked(CUT, AFTER_CUT, {target: DONE})
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == (
        f"run f01 on {target.name} (cut) ended as succeeded 20 s ago; between two such runs in a cluster 5 min have "
        "to pass"
    )
    assert asked(CUT, AFTER_CUT, {target: replace(DONE, ended_at=NOW - 299.9)}).verdict is Verdict.REFUSE
    assert asked(CUT, AFTER_CUT, {target: replace(DONE, ended_at=NOW - 300.0)}).verdict is Verdict.ALLOW


def test_a_clock_that_was_set_forward_makes_it_no_shorter() -> None:
    rested = {CUT_B: replace(DONE, ended_at=NOW - 310.0)}
    assert asked(CUT, AFTER_CUT, rested, Jump(60.0, 100.0)).verdict is Verdict.REFUSE


def test_one_that_goes_on_is_waited_for_by_its_lock() -> None:
    assert asked(CUT, AFTER_CUT, {CUT_B: replace(DONE, ended_at=None)}).verdict is Verdict.ALLOW


def test_what_did_not_help_is_not_done_again_while_the_alert_fires() -> None:
    long_ago = replace(VAIN, ended_at=NOW - 900.0)
    said = asked(CUT, AFTER_CUT, {CUT: long_ago})
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == "run f00 did this since the alert began to fire, and it did not help: a person has to look"
    assert asked(CUT, replace(AFTER_CUT, since=NOW - 600.0), {CUT: long_ago}).verdict is Verdict.ALLOW
    assert asked(CUT, AFTER_CUT, {CUT: replace(long_ago, in_vain=False)}).verdict is Verdict.ALLOW


def test_a_restart_follows_a_cut_in_vain_at_once() -> None:
    assert asked(RESTART, AFTER_VAIN_CUT, {CUT: VAIN}).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (None, "none"),
        (DONE, "run f01 (cut) ended as succeeded"),
        (replace(VAIN, in_vain=False), "run f00 (cut) ended as failed"),
        (replace(VAIN, ended_at=NOW - 1801.0), "run f00 (cut) ended as failed"),
        (Action("f02", "(cut) is running", None), "run f02 (cut) is running"),
        (Action("f03", "was rejected", NOW - 20.0), "run f03 was rejected"),
    ],
)
def test_a_restart_without_a_cut_in_vain(cut: Action | None, words: str) -> None:
    said = asked(RESTART, AFTER_VAIN_CUT, {} if cut is None else {CUT: cut})
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == (
        "apiserver-cut-etcd-connections comes first, and has to have been in vain within 30 min; its last run on "
        f"a:6443: {words}"
    )


@pytest.mark.parametrize("ended_at", [NOW - 900.0, NOW - 400.0, None])
def test_one_cut_in_vain_is_good_for_one_restart(ended_at: float | None) -> None:
    cut = replace(VAIN, ended_at=NOW - 900.0)
    restarted = Action("f04", "(apiserver-restart) ended as succeeded", ended_at)
    said = asked(RESTART, AFTER_VAIN_CUT, {CUT: cut, RESTART: restarted})
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == (
        "run f04 (apiserver-restart) ended as succeeded after apiserver-cut-etcd-connections was in vain: another "
        "takes another cut"
    )
    earlier = replace(restarted, ended_at=NOW - 901.0)
    assert asked(RESTART, AFTER_VAIN_CUT, {CUT: cut, RESTART: earlier}).verdict is Verdict.ALLOW


def test_a_cut_elsewhere_keeps_the_restart_away() -> None:
    said = asked(RESTART, AFTER_VAIN_CUT, {CUT: VAIN, CUT_B: DONE})
    assert said.verdict is Verdict.REFUSE
    assert said.reason.startswith("run f01 on b:6443")


def test_a_restart_in_vain_is_not_repeated() -> None:
    said = asked(RESTART, AFTER_VAIN_CUT, {CUT: VAIN, RESTART: replace(VAIN, run_id="f04")})
    assert said.reason.startswith("run f04 did this since the alert began to fire")
