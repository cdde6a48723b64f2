"""The policy file changes while the engine works: each decision is of one whole policy, and the newest soon decides."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.policy import PolicyOfFile, load
from ballast_remediator.store.database import Store
from kube_ballast.configfile import ConfigError
from tests.remediator.chain import payload
from tests.remediator.engine.desk import Desk, Recording
from tests.remediator.incidents.incident import let_it_run

RUNBOOK = "etcd-free-space"
STRICT = f"rules: [{{runbook: {RUNBOOK}, mode: shadow}}]\n"
LOOSE = f"""brake: {{targets: 7, window: 20m}}
rules:
{"".join(f"  - {{runbook: {RUNBOOK}, match: {{cluster: c{number}}}, mode: ask}}" + chr(10) for number in range(20))}
  - {{runbook: {RUNBOOK}, match: {{cluster: here}}, mode: auto, cooldown: 1ms}}
"""


def replace(path: Path, text: str) -> None:
    """As a careful tool does: the file is never half there."""
    new = path.with_name(f"{threading.get_ident()}.new")
    new.write_text(text)
    new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(LOOSE)
    return file


@pytest.fixture
def desk(store: Store, path: Path) -> Desk:
    made = Desk(store, Recording(name=RUNBOOK))
    made.engine._planner._policies = made.engine._intake._policies = PolicyOfFile(path)
    return made


def test_two_policies_that_race_are_each_seen_whole_and_the_last_one_stays(tmp_path: Path, path: Path) -> None:
    policies = PolicyOfFile(path)
    loose = policies.current().digest
    (tmp_path / "strict.yaml").write_text(STRICT)
    strict = load(tmp_path / "strict.yaml").digest
    over = threading.Event()

    def write(text: str) -> None:
        for _ in range(200):
            replace(path, text)

    def read() -> set[str]:
        seen = set()
        while not over.is_set():
            seen.add(policies.current().digest)
        return seen

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for writer in [pool.submit(write, text) for text in (STRICT, LOOSE)]:
            writer.result(60)
        replace(path, STRICT)
        assert policies.current().digest == strict
        over.set()
        assert set[str]().union(*(reader.result(10) for reader in readers)) <= {loose, strict}
    assert policies.problem is None


def test_one_that_is_no_good_never_decides_however_often_it_is_written(path: Path) -> None:
    policies = PolicyOfFile(path)
    loose = policies.current().digest
    for text in (f"rules: [{{runbook: {RUNBOOK}, mode: auto}}]", "rules: [{runbook", "", LOOSE[:-20], "\x00"):
        replace(path, text)
        assert policies.current().digest == loose
        assert str(path) in (policies.problem or "")
    replace(path, STRICT)
    assert policies.current().digest != loose
    assert policies.problem is None


def queued(desk: Desk) -> None:
    desk.receive(payload())
    assert desk.until(RunState.QUEUED).mode == "auto"


def without_rules(path: Path) -> None:
    replace(path, "rules: []\n")


@pytest.mark.parametrize(
    ("change", "becomes"),
    [(lambda path: replace(path, STRICT), RunState.SHADOWED), (without_rules, RunState.SUPPRESSED)],
    ids=["shadow", "no rule"],
)
def test_a_stricter_policy_holds_for_what_is_queued_already(
    desk: Desk, path: Path, change: Callable[[Path], None], becomes: RunState
) -> None:
    queued(desk)
    change(path)
    let_it_run(desk)
    assert desk.run().state is becomes
    assert desk.runbook.effects == []


def test_a_policy_that_turns_bad_leaves_the_old_one_deciding(desk: Desk, path: Path) -> None:
    digest = load(path).digest
    queued(desk)
    replace(path, "rules: all of them\n")
    with pytest.raises(ConfigError):
        load(path)
    let_it_run(desk)
    assert desk.run().state is RunState.SUCCEEDED
    assert desk.run().policy_digest == digest
