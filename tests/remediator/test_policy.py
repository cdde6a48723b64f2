"""The policy file: which rule decides, and what is wrong with a file, line by line."""

from pathlib import Path

import pytest

from ballast_remediator.contract import Mode, Reversibility
from ballast_remediator.policy import load
from ballast_remediator.runbooks.etcd_free_space import EtcdFreeSpace
from kube_ballast.configfile import ConfigError

RUNBOOK = "etcd-free-space"


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    policy = load(
        write(
            tmp_path,
            f"""
rules:
  - runbook: {RUNBOOK}
    match: {{cluster: production, etcd_cluster: main}}
    mode: auto
  - runbook: {RUNBOOK}
    match: {{cluster: production}}
    mode: shadow
  - {{runbook: {RUNBOOK}, match: {{cluster: test}}}}
""",
        )
    )

    def mode(**labels: str) -> Mode | None:
        rule = policy.decide(RUNBOOK, labels)
        return None if rule is None else rule.mode

    assert mode(cluster="production", etcd_cluster="main", more="labels") is Mode.AUTO
    assert mode(cluster="production", etcd_cluster="events") is Mode.SHADOW
    assert mode(cluster="test") is Mode.ASK
    assert mode(cluster="elsewhere") is None
    assert mode() is None
    assert policy.decide("another", {"cluster": "test"}) is None


def test_no_rules_allow_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, "rules: []")).decide(RUNBOOK, {}) is None


def test_the_digest_follows_the_content_and_not_the_layout(tmp_path: Path) -> None:
    one = load(write(tmp_path, f"rules:\n  - runbook: {RUNBOOK}\n    mode: ask\n"))
    same = load(write(tmp_path, f"# a remark\nrules: [{{mode: ask, runbook: {RUNBOOK}}}]\n"))
    other = load(write(tmp_path, f"rules: [{{mode: auto, runbook: {RUNBOOK}}}]\n"))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (
            "rules:\n  - runbook: reboot\n",
            2,
            "rules.0.runbook: there is no approved runbook 'reboot' (there are: etcd-free-space)",
        ),
        (
            f"rules:\n  - runbook: {RUNBOOK}\n    mode: automatic\n",
            3,
            "rules.0.mode: Input should be 'shadow', 'ask' or 'auto'",
        ),
        (f"rules:\n  - runbook: {RUNBOOK}\n    modus: ask\n", 3, "rules.0.modus: unknown key"),
        ("rules:\n  - mode: ask\n", 2, "rules.0.runbook: is required and missing"),
        (f"rules:\n  - runbook: {RUNBOOK}\n    match: production\n", 3, "rules.0.match"),
        (f"rules:\n  - runbook: {RUNBOOK}\n    match: {{cluster: 1}}\n", 3, "rules.0.match.cluster"),
        ("rules: none\n", 1, "rules: should be a list"),
        ("rule: []\n", 1, "unknown key"),
        ("- a\n", 1, "should be a mapping of keys to values"),
        ("rules: [\n", 2, "is no valid YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert any(
        str(problem).startswith(f"{path}:{line}: ") and reason in str(problem) for problem in caught.value.problems
    )


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "rules:\n  - {runbook: reboot}\n  - {runbook: etcd-free-space, mode: x}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3]


def test_files_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "policy.yaml")
    with pytest.raises(ConfigError, match=r"policy\.yaml: is empty"):
        load(write(tmp_path, ""))


def test_what_cannot_be_undone_is_never_automatic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EtcdFreeSpace, "reversibility", Reversibility.IRREVERSIBLE)
    load(write(tmp_path, f"rules: [{{runbook: {RUNBOOK}, mode: ask}}]\n"))
    with pytest.raises(ConfigError, match="etcd-free-space cannot be undone: it is never run in auto"):
        load(write(tmp_path, f"rules: [{{runbook: {RUNBOOK}, mode: auto}}]\n"))
