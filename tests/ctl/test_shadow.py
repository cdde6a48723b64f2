"""``ballastctl shadow``: what a team reads before it lets a runbook do more than write down its plan."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from click.testing import Result
from pydantic import BaseModel

from ballast_remediator import queries_shadow
from ballast_remediator.store.database import Store
from ballast_remediator.store.shadow import Later
from kube_ballast.clients import remediator_shadow
from tests.remediator.web.shadows import every_score, look, resolve, shadowed

Ctl = Callable[..., Result]
PAIRS = [
    (queries_shadow.ShadowReport, remediator_shadow.ShadowReport),
    (queries_shadow.ShadowTotals, remediator_shadow.ShadowTotals),
    (queries_shadow.ShadowRun, remediator_shadow.ShadowRun),
    (queries_shadow.LookView, remediator_shadow.Look),
]


@pytest.mark.parametrize(("shown", "known"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_api_is_there(shown: type[BaseModel], known: Any) -> None:
    assert {field.name for field in fields(known)} == set(shown.model_fields)


def test_the_report_counts_and_tells_and_fits_a_terminal(ctl: Ctl, store: Store) -> None:
    ids = every_score(store)
    shown = ctl("shadow", "report", role="viewer").output
    lines = shown.splitlines()
    assert "7 runs. None of them did anything." in lines[0]
    production = lines.index("etcd-free-space in production: 6 runs for 6 alerts")
    counted = {" ".join(line.split()[:2]): line for line in lines[production + 1 : production + 7]}
    assert list(counted) == ["ended by", "did not", "refused later", "unknown 1", "still open"]
    assert counted["refused later"].endswith("17 %  by quorum_survives 1")
    assert "etcd-free-space in staging: 1 run for 1 alert" in lines
    listed = [line.split()[0] for line in lines if line[:1].isalnum() and " UTC  etcd-free-space on " in line]
    assert listed == [*reversed(ids)]
    assert "  would have free 1.5 GiB on 3 members (2 steps)" in lines
    assert "ended by people: anna says so: compacted by hand" in shown
    assert "refused later: quorum_survives: it is so" in shown
    assert max(map(len, lines)) <= 80


def test_looks_that_found_the_same_are_told_together(ctl: Ctl, store: Store) -> None:
    run_id = shadowed(store)
    look(store, run_id, Later.SAME_PLAN, Later.SAME_PLAN, Later.REFUSED, Later.UNSEEN, guard="window_is_open")
    told = " ".join(ctl("shadow", "report").output.split())
    assert re.search(
        r"later the same after \S+ ms and \S+ ms; refused by window_is_open after .*; not seen after", told
    )


def test_a_mark_changes_the_score(ctl: Ctl, store: Store) -> None:
    run_id = shadowed(store)
    resolve(store)
    said = ctl("shadow", "mark", run_id, "people", "--reason", "I compacted it")
    assert (said.exit_code, said.output) == (0, f"run {run_id} is marked: ended by people\n")
    assert "approver says so: I compacted it" in ctl("shadow", "report").output


def test_a_mark_needs_a_reason_and_a_run_that_was_shadowed(ctl: Ctl, run_id: str) -> None:
    assert ctl("shadow", "mark", run_id, "people").exit_code == 2
    refused = ctl("shadow", "mark", run_id, "people", "--reason", "x")
    assert (refused.exit_code, "only a run that was shadowed" in refused.output) == (1, True)


def test_nothing_was_shadowed(ctl: Ctl) -> None:
    shown = ctl("shadow", "report", "--since", "1h")
    assert (shown.exit_code, shown.output.startswith("no run was shadowed since ")) == (0, True)


def test_as_json_and_only_so_many(ctl: Ctl, store: Store) -> None:
    ids = every_score(store)
    content = json.loads(ctl("shadow", "report", "-o", "json", "--limit", "2").output)
    assert [run["id"] for run in content["runs"]] == [ids[6], ids[5]]
    assert content["left_out"] == 5
    assert "… and 5 older runs: --limit 7" in ctl("shadow", "report", "--limit", "2").output


def test_words_from_outside_do_not_drive_the_terminal(ctl: Ctl, store: Store) -> None:
    shadowed(store, target="\x1b[2Jmain\rgone")
    shown = ctl("shadow", "report").output
    assert " [2Jmain gone" in shown
    assert not {"\x1b", "\r"} & set(shown)
