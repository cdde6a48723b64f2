"""The builder: knobs, their mistakes, and drift."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.mixin.generated import load
from tools import mixin


def rule(folder: Path, file: str, name: str) -> dict[str, str]:
    for group in load(folder / "alerts" / file)["groups"]:
        for entry in group["rules"]:
            if name in (entry.get("alert"), entry.get("record")):
                return dict(entry)
    raise AssertionError(f"{name} is not in {file}")


def test_a_knob_changes_what_derives_from_it(tmp_path: Path) -> None:
    mixin.build(tmp_path, {"compactionIntervalSeconds": 10, "predictedCriticalFor": "5s"})
    peak = rule(tmp_path, "ballast-rules.yaml", "member:ballast_etcd_quota_peak_in_use_bytes:max")
    assert "[30s]" in peak["expr"]
    assert rule(tmp_path, "ballast-alerts.yaml", "EtcdQuotaExhaustionPredicted")["for"] == "5s"


def test_a_jsonnet_file_overrides_and_the_json_overrides_it(tmp_path: Path) -> None:
    config = tmp_path / "ours.libsonnet"
    config.write_text("{ _config+:: { clusterLabel: 'site', freeSpaceKeepFiringFor: '1m' } }")
    mixin.build(tmp_path, {"freeSpaceKeepFiringFor": "9s"}, config)
    needed = rule(tmp_path, "ballast-actions.yaml", "EtcdFreeSpaceNeeded")
    assert "by (site, etcd_cluster)" in needed["expr"]
    assert needed["keep_firing_for"] == "9s"
    inhibit = load(tmp_path / "alerts" / "alertmanager-inhibit-rules.yaml")
    assert {entry["equal"][0] for entry in inhibit["inhibit_rules"]} == {"site"}


@pytest.mark.parametrize("how", ["json", "file"])
def test_a_misspelt_knob_is_refused_by_name(tmp_path: Path, how: str) -> None:
    config = tmp_path / "ours.libsonnet"
    config.write_text("{ _config+:: { compactionInterval: 10 } }")
    with pytest.raises(mixin.MixinError, match=r"no such knob: compactionInterval\. .*compactionIntervalSeconds"):
        mixin.build(tmp_path, *(({"compactionInterval": 10}, None) if how == "json" else (None, config)))


def test_without_a_remediator_there_are_no_action_alerts_and_their_old_file_goes(tmp_path: Path) -> None:
    mixin.build(tmp_path)
    mixin.build(tmp_path, {"actionAlertsEnabled": False})
    assert not (tmp_path / "alerts" / "ballast-actions.yaml").exists()
    assert (tmp_path / "alerts" / "ballast-alerts.yaml").exists()


def intervals(folder: Path, file: str) -> dict[str, str | None]:
    return {group["name"]: group.get("interval") for group in load(folder / "alerts" / file)["groups"]}


def test_rule_groups_take_their_interval_from_the_knobs(tmp_path: Path) -> None:
    mixin.build(tmp_path, {"actionEvaluationInterval": "15s", "pathEvaluationInterval": None})
    fast = {"ballast-apiserver-path.actions": None}
    assert intervals(tmp_path, "ballast-actions.yaml").items() >= fast.items()
    assert set(intervals(tmp_path, "ballast-actions.yaml").values()) == {"15s", None}
    assert set(intervals(tmp_path, "ballast-alerts.yaml").values()) == {None}


def test_only_the_way_to_etcd_is_looked_at_more_often_than_prometheus_does(tmp_path: Path) -> None:
    mixin.build(tmp_path)
    for file in ("ballast-rules.yaml", "ballast-alerts.yaml", "ballast-actions.yaml"):
        fast = {name: interval for name, interval in intervals(tmp_path, file).items() if interval}
        assert list(fast.values()) == ["5s"], file
        assert "apiserver-path" in next(iter(fast))


def test_drift_is_shown_as_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixin.build(tmp_path)
    assert mixin.main(["--check", "--out", str(tmp_path)]) == 0
    path = tmp_path / "alerts" / "ballast-rules.yaml"
    tree = load(path)
    tree["groups"][0]["name"] = "edited"
    YAML().dump(tree, path)
    (tmp_path / "alerts" / "left-over.yaml").write_text("groups: []\n")
    assert mixin.main(["--check", "--out", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "-- name: edited" in errors
    assert "committed/alerts/left-over.yaml" in errors
    assert "run make generate" in errors


def test_a_mistake_in_jsonnet_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "broken.libsonnet"
    config.write_text("{ _config+:: { clusterLabel: ")
    assert mixin.main(["--out", str(tmp_path), "--config", str(config)]) == 1
    assert "broken.libsonnet:1:" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_overrides_that_are_no_object_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        mixin.main(["--out", str(tmp_path), "--config-json", text])
    assert stop.value.code == 2
