"""ballastctl preapprove, preapprovals, revoke; and several people with ballastctl approve and show."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from click.testing import Result

from ballast_remediator.contract import RunState
from ballast_remediator.store import decisions, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import preapprovals
from tests.remediator.web.setting import PLAN_HASH, Site, entry, seed

Ctl = Callable[..., Result]
GIVEN = ("preapprove", "etcd-free-space", "--cluster", "production", "--target", "main", "--reason", "the night shift")


def test_what_is_given_is_said_listed_and_taken_back(ctl: Ctl, store: Store) -> None:
    said = ctl(*GIVEN, "--limit", "members_at_once=1", "--acknowledge", "stall_fits", "--for", "10h")
    (given,) = store.read(decisions.preapprovals_in_force)
    assert (given.targets, given.limits, given.acknowledged) == (("main",), {"members_at_once": 1.0}, ("stall_fits",))
    assert (given.person, given.runbook_digest) == ("approver", "ef" * 32)
    lines = said.output.splitlines()
    assert lines.pop(2).startswith("  until 20")
    assert lines == [
        f"{given.id}  etcd-free-space on main in production",
        "  approved beforehand by approver: the night shift",
        "  only plans whose members_at_once is at most 1",
        "  the risk that stall_fits may name is accepted",
        f"  to take it back: ballastctl revoke {given.id} --reason …",
    ]
    assert given.id in ctl("preapprovals", role="viewer").output
    assert json.loads(ctl("preapprovals", "-o", "json").output)[0]["id"] == given.id

    assert ctl("revoke", given.id, "--reason", "over").output.startswith("revoked: etcd-free-space on main")

    assert ctl("preapprovals").output == "no pre-approval is in force\n"
    again = ctl("revoke", given.id, "--reason", "over")
    assert (again.exit_code, "there is no pre-approval" in again.output) == (1, True)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-7)), None], ids=["UTC", "another", "the local one"])
def test_until_a_time_of_any_zone(ctl: Ctl, store: Store, zone: tzinfo | None) -> None:
    tomorrow = datetime.now(zone).replace(microsecond=0) + timedelta(days=1)
    assert ctl(*GIVEN, "--until", tomorrow.isoformat()).exit_code == 0
    assert store.read(decisions.preapprovals_in_force)[0].until == tomorrow.timestamp()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say when it ends"),
        (("--for", "1h", "--until", "2099-12-24"), "say when it ends"),
        (("--until", "tonight"), "'tonight' is no time"),
        (("--for", "1h", "--limit", "members"), "'members' is no limit"),
        (("--for", "1h", "--limit", "members=many"), "is no limit"),
    ],
)
def test_mistakes_in_the_command_line(ctl: Ctl, store: Store, arguments: tuple[str, ...], words: str) -> None:
    said = ctl(*GIVEN, *arguments)
    assert (said.exit_code, words in said.output) == (2, True)
    assert store.read(decisions.preapprovals_in_force) == ()


def test_one_without_a_target_approves_nothing(ctl: Ctl, store: Store) -> None:
    said = ctl("preapprove", "etcd-free-space", "--cluster", "production", "--for", "1h", "--reason", "x")
    assert (said.exit_code, "--target" in said.output) == (2, True)
    assert store.read(decisions.preapprovals_in_force) == ()


def test_one_whose_runbook_changed_is_said_to_approve_nothing(ctl: Ctl, store: Store) -> None:
    ctl(*GIVEN, "--for", "1h")
    store.write(lambda connection: connection.execute(preapprovals.update().values(runbook_digest="another")))
    assert "approves nothing: etcd-free-space is not the one that was approved any more" in ctl("preapprovals").output


@pytest.fixture
def for_two(site: Site, store: Store) -> str:
    """A run that it takes two of three people to let pass."""
    with site.tokens.open("a") as tokens:
        for name in ("anna", "ben", "cleo"):
            tokens.write(entry(name, "approver", f"{name}-secret"))
            (site.folder / f"{name}.token").write_text(f"{name}-secret\n")
    return seed(store, approvals_needed=2, approvers=("anna", "ben"))


def approve(ctl: Ctl, run_id: str, who: str) -> Result:
    named = ("--plan-hash", PLAN_HASH, "--acknowledge", "stall_fits")
    return ctl("approve", run_id, "--reason", "looks right", *named, role=who)


def test_several_people_approve_and_each_is_told_what_it_waits_for(ctl: Ctl, store: Store, for_two: str) -> None:
    assert "waits for two different people (anna or ben)" in ctl("show", for_two, role="viewer").output
    said = approve(ctl, for_two, "anna").output
    assert said == f"run {for_two} is approved by anna; waits for one more, a different person (ben)\n"
    shown = ctl("show", for_two, role="viewer").output
    assert "approved by anna; waits for one more, a different person (ben)" in shown
    assert "ago): looks right" in shown

    assert approve(ctl, for_two, "ben").output.startswith(f"run {for_two} is approved and now queued")
    assert "  approved by anna and ben\n" in ctl("show", for_two).output
    run = store.read(reading.run, for_two)
    assert run is not None
    assert run.state is RunState.QUEUED


def test_without_names_in_the_rule_whoever_has_the_role_may(ctl: Ctl, run_id: str) -> None:
    assert "waits for one person (whoever has the role approver or admin)" in ctl("show", run_id).output


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("anna", "anna has approved this plan already"),
        ("cleo", "does not let cleo approve this run; it names anna, ben"),
    ],
)
def test_who_does_not_count_is_told(ctl: Ctl, for_two: str, who: str, words: str) -> None:
    approve(ctl, for_two, "anna")
    said = approve(ctl, for_two, who)
    assert (said.exit_code, words in said.output) == (1, True)
