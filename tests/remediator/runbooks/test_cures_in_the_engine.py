"""The cut through the whole engine: a crash at any point, an answer that is lost, and no second attempt in vain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ballast_remediator.config import CutSettings
from ballast_remediator.contract import Action, RunState, Stopped
from ballast_remediator.runbooks import apiserver_recovery
from ballast_remediator.store import ledger
from kube_ballast.clients.errors import Timeout, Unavailable
from kube_ballast.clients.hosts import Apiserver, Process, Sight
from kube_ballast.config import EtcdConfig
from tests.remediator.chain import Chain, chain, payload
from tests.remediator.guards.planes import ENDPOINTS
from tests.remediator.runbooks.curing import BEFORE, LATER, LINES, SICK, Given, Host
from tests.waiting import eventually

CUT = "apiserver-cut-etcd-connections"
ETCD = EtcdConfig.model_validate({"members": [{"endpoint": endpoint} for endpoint in ENDPOINTS]})
ASKING = payload(
    labels={
        "alertname": "ApiserverCutEtcdConnectionsNeeded",
        "ballast_runbook": CUT,
        "apiserver": SICK,
        "etcd_cluster": None,
    }
)
FRESH = "10.0.0.1:50007 10.0.0.1:2379"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiserver_recovery, "SETTLING_PAUSE", 0.01)


class Dying(Host):
    """The process ends in the middle of the first cut: before it, or after it and before its answer."""

    def __init__(self, one: Chain, *, cuts: bool) -> None:
        super().__init__()
        self._one, self._cuts, self._died = one, cuts, False

    def cut(self, apiserver: Apiserver, expected: Process, only: tuple[str, ...]) -> Sight:
        if self._died:
            return super().cut(apiserver, expected, only)
        self._died = True
        if self._cuts:
            super().cut(apiserver, expected, only)
            self.lines = (FRESH,)
        return ended(self._one)


def ended(one: Chain) -> NoReturn:
    """The process ends here: nothing more is done or written down."""
    one.engine._stopping.set()
    raise Stopped("the process ended")


def before_it_acts(one: Chain, given: Given) -> None:
    del given
    one.before("cut", lambda: ended(one))


def right_before_the_cut(one: Chain, given: Given) -> None:
    given.host = Dying(one, cuts=False)


def right_after_the_cut(one: Chain, given: Given) -> None:
    given.host = Dying(one, cuts=True)


def before_it_is_verified(one: Chain, given: Given) -> None:
    del given
    vars(one.runbook)["verify"] = lambda _context: ended(one)


def standing(one: Chain, given: Given) -> None:
    vars(one.connections)["_apiservers"] = {"here": given}


@pytest.mark.parametrize("dies", [before_it_acts, right_before_the_cut, right_after_the_cut, before_it_is_verified])
def test_a_crash_at_any_point(tmp_path: Path, dies: Callable[[Chain, Given], None]) -> None:
    given = Given()
    with chain(tmp_path, ETCD, runbook=CUT) as one:
        standing(one, given)
        dies(one, given)
        one.receive(ASKING)
        eventually(one.engine._stopping.is_set)
    host = given.host
    host.helps = given.heals
    with chain(tmp_path, ETCD, runbook=CUT) as one:
        standing(one, given)
        if dies in {right_after_the_cut, before_it_is_verified}:
            given.heals()
        run = one.until_final()
        assert run.state is RunState.SUCCEEDED, one.story(run)
    cuts = [done for done in host.done if done[0] == "cut"]
    assert all(done[2:] == (BEFORE, LINES) for done in cuts)
    assert len(cuts) == 1
    assert host.lines in {(), (FRESH,)}, "a connection that was made since is never cut"


def test_an_answer_that_was_lost_is_looked_for(tmp_path: Path) -> None:
    given = Given()
    done = given.host.cut

    def lost(*arguments: Any) -> Sight:
        done(*arguments)
        given.heals()
        raise Timeout("cp-1", "no end within 30 s; it is unknown what took effect")

    vars(given.host)["cut"] = lost
    with chain(tmp_path, ETCD, runbook=CUT) as one:
        standing(one, given)
        run = one.answer(ASKING)
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert "cut was interrupted (cp-1: no end within 30 s" in one.story(run)
    assert len(given.host.done) == 1


def test_an_approval_is_for_the_process_that_was_seen(tmp_path: Path) -> None:
    """The apiserver was restarted before the claim: nothing is done to the new process until that is approved."""
    given = Given()
    with chain(tmp_path, ETCD, runbook=CUT, mode="ask", start=False) as one:
        standing(one, given)
        one.engine.start()
        one.receive(ASKING)
        waiting = one.until(RunState.AWAITING_APPROVAL)
        given.host.process = LATER
        vars(one.runbook)["_settings"] = CutSettings.model_validate({"rest": "6m"})
        one.approve(waiting)
        eventually(lambda: one.run().plan_hash != waiting.plan_hash)
        again = one.until(RunState.AWAITING_APPROVAL)
        words = (
            "what would be done changed since it was approved (process was 4711 100 boot and is 4712 200 boot; "
            "rest_seconds was 300.0 and is 360.0; plan "
        )
        assert words in one.story(again)
        given.host.helps = given.heals
        one.approve(again)
        assert one.until_final().state is RunState.SUCCEEDED
    assert [done[2] for done in given.host.done] == [LATER]


def last_action(one: Chain) -> Action:
    target = one.runs()[0].target
    found = one.store.read(lambda connection: ledger.SqlLedger(connection, ledger.Host()).last_action(target))
    assert found is not None
    return found


def test_a_cut_that_helped_and_failed_of_something_else_was_not_in_vain(tmp_path: Path) -> None:
    """Nothing harsher may follow it: writes work again."""
    given = Given()
    given.host.helps = given.heals
    given.not_ready = Unavailable(f"https://{SICK}", "500")
    with chain(tmp_path, ETCD, runbook=CUT) as one:
        standing(one, given)
        vars(one.runbook)["_settings"] = CutSettings.model_validate({"ready_within": "100ms"})
        run = one.answer(ASKING)
        assert run.state is RunState.FAILED
        assert run.reason.startswith("its writes work again, but it is not ready")
        assert not last_action(one).in_vain


def test_what_was_in_vain_is_not_done_again_while_the_alert_fires(tmp_path: Path) -> None:
    given = Given()
    with chain(tmp_path, ETCD, runbook=CUT) as one:
        standing(one, given)
        run = one.answer(ASKING)
        assert run.state is RunState.FAILED
        assert f"{SICK} is still channel_stalled" in run.reason
        assert last_action(one).in_vain
        given.host.lines = (FRESH,)
        one.receive(ASKING)
        eventually(lambda: len(one.runs()) == 2)
        again = one.until_final()
        assert again.state is RunState.SUPPRESSED
        assert again.reason.startswith(f"earlier_runs_permit: run {run.id} did this since the alert began to fire")
    assert len(given.host.done) == 1
