"""The policy file: which rule decides, and what is wrong with a file, line by line."""

from pathlib import Path

import pytest

from ballast_remediator.contract import Budget, Mode, Reversibility, Terms
from ballast_remediator.periods import Period
from ballast_remediator.policy import PolicyOfFile, load
from ballast_remediator.runbooks.etcd_free_space import EtcdFreeSpace
from kube_ballast.configfile import ConfigError

RUNBOOK = "etcd-free-space"


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def rule(more: str) -> str:
    """A policy whose one rule says more in its third line."""
    return f"rules:\n  - {{runbook: {RUNBOOK},\n     {more}}}\n"


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
    same = load(write(tmp_path, f"# a remark\nrules: [{{mode: ask, runbook: {RUNBOOK}, cooldown: 1800}}]\n"))
    other = load(write(tmp_path, f"rules: [{{mode: shadow, runbook: {RUNBOOK}}}]\n"))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (
            "rules:\n  - runbook: reboot\n",
            2,
            "rules.0.runbook: there is no approved runbook 'reboot' (there are: etcd-free-space",
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
        (
            rule("mode: auto"),
            3,
            "rules.0.mode: a rule without match means every alert of every cluster; in auto it has to name what it",
        ),
        (rule("approvals: 0"), 3, "rules.0.approvals: Input should be greater than or equal to 1"),
        (rule("approvers: []"), 3, "rules.0.approvers: needs at least 1, has 0"),
        (
            rule("approvals: 2, approvers: [anna, anna]"),
            3,
            "rules.0.approvers: it takes 2 different people, and there are 1",
        ),
        (rule("budget: {}"), 3, "rules.0.budget: a budget says how many runs, or which percent of the targets"),
        (rule("budget: {window: 1h}"), 3, "rules.0.budget: a budget says how many runs"),
        (rule("budget: {runs: -1}"), 3, "rules.0.budget.runs: Input should be greater than or equal to 0"),
        (rule("budget: {percent: 101}"), 3, "rules.0.budget.percent: Input should be less than or equal to 100"),
        (rule("budget: {percent: .nan}"), 3, "rules.0.budget.percent: "),
        (rule("budget: {runs: 3, window: soon}"), 3, "rules.0.budget.window: 'soon' is no duration"),
        (rule("cooldown: 0"), 3, "rules.0.cooldown: Input should be greater than 0"),
        (rule("limits: {members_at_once: many}"), 3, "rules.0.limits.members_at_once: Input should be a valid number"),
        (rule("limits: {members_at_once: .nan}"), 3, "rules.0.limits.members_at_once: Input should be a finite number"),
        (rule("windows: [{name: night, schedule: 0 1 * * *}]"), 3, "rules.0.windows.0.lasts: is required and missing"),
        (
            rule("windows: [{name: night, schedule: 0 25 * * *, lasts: 4h}]"),
            3,
            "rules.0.windows.0.schedule: '0 25 * * *' is no schedule of five fields as in crontab(5): bad hour",
        ),
        (
            rule("windows: [{name: night, schedule: 0 0 1 * * *, lasts: 4h}]"),
            3,
            "rules.0.windows.0.schedule: '0 0 1 * * *' is no schedule of five fields as in crontab(5): it has 6",
        ),
        (
            rule("windows: [{name: night, schedule: 0 1 * * *, lasts: 4h, time_zone: Berlin}]"),
            3,
            "rules.0.windows.0.time_zone: there is no time zone 'Berlin': write for example UTC or Europe/Berlin",
        ),
        ("rules: []\ntime_zone: Mars/Olympus\n", 2, "time_zone: there is no time zone 'Mars/Olympus'"),
        ("rules: []\nbrake: {targets: 0}\n", 2, "brake.targets: Input should be greater than or equal to 1"),
        ("rules: []\nbrake: {window: 0s}\n", 2, "brake.window: Input should be greater than 0"),
        (
            "rules: []\nfreezes:\n  - {name: year-end, schedule: 0 0 20 12 *, lasts: 14d, except: [reboot]}\n",
            3,
            "freezes.0.except: there is no approved runbook 'reboot'",
        ),
        (
            "rules: []\nfreezes:\n  - {name: year-end, schedule: 0 0 20 12 *, lasts: 14d, excepted: []}\n",
            3,
            "freezes.0.excepted: unknown key",
        ),
        (
            "rules: []\nfreezes:\n  - {name: never, schedule: 0 0 * 2 MON#5 , lasts: 1h}\n  - {schedule: x}\n",
            4,
            "freezes.1.name: is required and missing",
        ),
        ("rules: 2026-13-45\n", None, "is no valid YAML: month must be in 1..12"),
        ("rules: none\n", 1, "rules: should be a list"),
        ("rule: []\n", 1, "unknown key"),
        ("- a\n", 1, "should be a mapping of keys to values"),
        ("rules: [\n", 2, "is no valid YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, line: int | None, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    place = f"{path}: " if line is None else f"{path}:{line}: "
    assert any(str(problem).startswith(place) and reason in str(problem) for problem in caught.value.problems)


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


def test_what_cannot_be_undone_is_never_automatic_and_takes_two_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EtcdFreeSpace, "reversibility", Reversibility.IRREVERSIBLE)
    (asked,) = load(write(tmp_path, rule("mode: ask"))).content.rules
    assert asked.approvals_needed(Reversibility.IRREVERSIBLE) == 2
    assert asked.approvals_needed(Reversibility.COSTLY) == 1
    load(write(tmp_path, rule("approvers: [anna, ben]")))
    with pytest.raises(ConfigError, match="approvers: it takes 2 different people, and there are 1"):
        load(write(tmp_path, rule("approvers: [anna]")))
    with pytest.raises(ConfigError, match="mode: etcd-free-space cannot be undone: it is never run in auto"):
        load(write(tmp_path, rule("mode: auto, match: {cluster: production}")))


def test_two_people_and_nobody_asked_do_not_go_together(tmp_path: Path) -> None:
    rule = f"{{runbook: {RUNBOOK}, match: {{cluster: a}}, mode: auto, approvals: 2, approvers: [anna, ben]}}"
    with pytest.raises(ConfigError, match=r"rules\.0\.approvals: in auto nobody is asked unless a guard asks"):
        load(write(tmp_path, f"rules: [{rule}]\n"))


WHOLE = f"""
time_zone: Europe/Berlin
brake: {{targets: 7, window: 5m}}
freezes:
  - {{name: year-end, schedule: "0 0 20 12 *", lasts: 14d, except: [{RUNBOOK}]}}
  - {{name: closing, schedule: "0 20 L * *", lasts: 12h, time_zone: America/New_York}}
rules:
  - runbook: {RUNBOOK}
    match: {{cluster: production}}
    approvers: [anna, ben]
    approvals: 2
    budget: {{percent: 10, window: 12h}}
    cooldown: 45m
    windows: [{{name: night, schedule: "0 1 * * *", lasts: 4h}}]
    limits: {{members_at_once: 1}}
"""


def test_what_a_rule_demands_of_a_run(tmp_path: Path) -> None:
    policy = load(write(tmp_path, WHOLE))
    found = policy.decide(RUNBOOK, {"cluster": "production"})
    assert found is not None
    assert policy.terms(found) == Terms(
        budget=Budget(None, 10.0, 12 * 3600.0),
        cooldown=2700.0,
        windows=(Period("night", "0 1 * * *", 4 * 3600.0, "Europe/Berlin"),),
        # The freeze that excepts this runbook is none of its own.
        freezes=(Period("closing", "0 20 L * *", 12 * 3600.0, "America/New_York"),),
        limits={"members_at_once": 1.0},
    )
    assert (policy.brake.targets, policy.brake.window) == (7, 300.0)


def test_a_rule_that_says_nothing_is_bounded_all_the_same(tmp_path: Path) -> None:
    policy = load(write(tmp_path, f"rules: [{{runbook: {RUNBOOK}}}]\n"))
    found = policy.decide(RUNBOOK, {})
    assert found is not None
    assert found.mode is Mode.ASK
    assert policy.terms(found) == Terms(budget=Budget(3, None, 86400.0), cooldown=1800.0)


@pytest.mark.parametrize(
    "change",
    [
        ("targets: 7", "targets: 8"),
        ("window: 5m", "window: 6m"),
        (f", except: [{RUNBOOK}]", ""),
        ("America/New_York", "UTC"),
        ("time_zone: Europe/Berlin", "time_zone: UTC"),
        ("percent: 10", "percent: 11"),
        ("[anna, ben]", "[anna, ben, carl]"),
        ("cooldown: 45m", "cooldown: 46m"),
        ("members_at_once: 1", "members_at_once: 2"),
        ("lasts: 4h", "lasts: 5h"),
    ],
)
def test_the_digest_follows_everything_that_bounds_a_run(tmp_path: Path, change: tuple[str, str]) -> None:
    assert change[0] in WHOLE
    changed = load(write(tmp_path, WHOLE.replace(*change)))
    assert load(write(tmp_path, WHOLE)).digest != changed.digest


def test_a_policy_that_turns_bad_stays_as_it_was_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, rule("mode: shadow"))
    policies = PolicyOfFile(path)
    before = policies.current()
    assert policies.problem is None
    write(tmp_path, rule("mode: auto"))
    assert policies.current() is before
    assert policies.problem == (
        f"{path}:3: rules.0.mode: a rule without match means every alert of every cluster; in auto it has to name what "
        "it means, at least cluster"
    )
    write(tmp_path, rule("mode: ask"))
    assert policies.problem is None
    assert policies.current().content.rules[0].mode is Mode.ASK


def test_a_policy_that_is_bad_at_the_start_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        PolicyOfFile(write(tmp_path, "rulez: []"))
