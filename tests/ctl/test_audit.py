"""ballastctl audit verify: it believes its own sums, and says where the chain breaks."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import delete, select, update

from ballast_remediator.chain import Head
from ballast_remediator.contract import Done, RunState
from ballast_remediator.store import decisions, runs, verifying
from ballast_remediator.store.audit import append
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit
from ballastctl import audit as command

Ctl = Callable[..., Result]


@pytest.fixture
def written(store: Store, run_id: str) -> Store:
    """Some entries, with all that JSON can hold among them."""
    store.write(decisions.reject, run_id, person="añna ✓", reason='"no" \\ \U0001f600\t')
    odd = {"big": 10**30, "float": 0.1 + 0.2, "small": 5e-324, "whole": 1.0, "list": [None, True, {"ß": -0.0}]}
    store.write(append, event="note", actor="test", words="odd", data=odd)
    store.write(append, event="note", actor="test", words="no number", data={"nan": float("nan"), "inf": float("inf")})
    store.write(append, event="note", actor="test", words="last")
    return store


def head(store: Store) -> Head:
    return store.read(verifying.head)


def test_a_whole_audit_and_the_head_to_write_down(ctl: Ctl, written: Store) -> None:
    said = ctl("audit", "verify", role="viewer")
    assert said.exit_code == 0
    now = head(written)
    assert said.stdout.startswith(f"whole: {now.seq} entries, from 20")
    assert said.stdout.endswith(f"head to write down: {now}\n")
    again = ctl("audit", "verify", "--head", str(now), "--head", now.hash.upper(), role="viewer")
    assert again.exit_code == 0
    assert again.stdout.count("is in the chain, and all that came before it is as it was then") == 2


def test_it_reads_page_by_page(ctl: Ctl, written: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAGE", 2)
    assert ctl("audit", "verify").stdout.startswith(f"whole: {head(written).seq} entries")


def test_an_edited_entry_is_named_with_what_is_around_it(ctl: Ctl, written: Store) -> None:
    written.write(lambda c: c.execute(update(audit).where(audit.c.seq == 3).values(words="all is \x1b[2J well")))
    said = ctl("audit", "verify")
    assert said.exit_code == 1
    assert said.stdout.startswith("BROKEN at entry 3 (edited): its hash does not cover what it says")
    marked = [line for line in said.stdout.splitlines() if line.startswith("> ")]
    assert len(marked) == 1
    assert "all is  [2J well" in marked[0]
    for around in ("  2  20", "  4  20", "before it: 2 entries, from 20"):
        assert around in said.stdout
    assert "head to write down" not in said.stdout


@pytest.mark.parametrize("data", ["{not json", '"\\ud800"', "[1e400]"])
def test_data_that_became_no_data_is_an_edit_too(ctl: Ctl, written: Store, data: str) -> None:
    written.write(lambda c: c.exec_driver_sql("UPDATE audit SET data = ? WHERE seq = 2", (data,)))
    said = ctl("audit", "verify")
    assert (said.exit_code, said.stdout.partition(":")[0]) == (1, "BROKEN at entry 2 (edited)")


def test_an_entry_that_is_gone(ctl: Ctl, written: Store) -> None:
    written.write(lambda c: c.execute(delete(audit).where(audit.c.seq == 2)))
    said = ctl("audit", "verify", "--output", "json")
    found = json.loads(said.stdout)
    assert said.exit_code == 1
    assert (found["whole"], found["break"]["kind"], found["break"]["seq"]) == (False, "dropped", 3)
    assert found["break"]["words"] == "entry 2 is missing before it"
    assert [one["seq"] for one in found["break"]["around"]] == [1, 3, 4]


def test_an_end_that_is_cut_off(ctl: Ctl, written: Store) -> None:
    known = head(written)
    written.write(lambda c: c.execute(delete(audit).where(audit.c.seq >= known.seq - 1)))
    assert ctl("audit", "verify").exit_code == 0, "nobody can tell without a head"
    for given in (str(known), known.hash):
        said = ctl("audit", "verify", "--head", given)
        assert said.exit_code == 1
        assert f"head {given} is NOT in the chain: its end was cut off" in said.stdout
    found = json.loads(ctl("audit", "verify", "-o", "json", "--head", str(known)).stdout)
    assert (found["whole"], found["heads"]) == (True, {str(known): "missing"})


def test_the_remediator_is_not_believed(ctl: Ctl, written: Store) -> None:
    """The whole is written anew after something was taken out: only a head from elsewhere shows it."""
    known = head(written)

    def rewrite(connection: Any) -> None:
        rows = connection.execute(select(audit).order_by(audit.c.seq)).all()
        connection.execute(delete(audit))
        for row in rows:
            if row.event != RunState.CANCELLED:
                append(connection, event=row.event, actor=row.actor, words=row.words, run_id=row.run_id, data=row.data)

    written.write(rewrite)
    assert ctl("audit", "verify").exit_code == 0
    assert ctl("audit", "verify", "--head", known.hash).exit_code == 1


@pytest.mark.parametrize("given", ["", "12", "x" * 64, f"-1:{'a' * 64}", "a" * 63])
def test_what_is_no_head(ctl: Ctl, given: str) -> None:
    said = ctl("audit", "verify", "--head", given)
    assert said.exit_code == 2
    assert "is no head: write SEQ:HASH or HASH" in said.stderr


def test_nobody_answers(ctl: Ctl) -> None:
    assert ctl("audit", "verify", at="http://127.0.0.1:1").exit_code == 3


def test_an_audit_without_entries(ctl: Ctl, store: Store) -> None:
    store.write(lambda c: c.execute(delete(audit)))
    said = ctl("audit", "verify")
    assert (said.exit_code, said.stdout) == (0, "whole: no entries\n")


def test_floats_of_facts_survive(ctl: Ctl, store: Store, run_id: str) -> None:
    store.write(decisions.approve, run_id, plan_hash="ab" * 32, person="anna", reason="", acknowledged=("stall_fits",))
    done = Done("done", {"seconds": 1 / 3, "bytes": 1e21, "share": 1.0})
    store.write(append, event="step_done", actor="engine", words=done.words, data={"facts": dict(done.facts)})
    store.write(runs.postpone, run_id, seconds=1.0, words="waits")
    assert ctl("audit", "verify").exit_code == 0
