"""The demo's story, on everything that really runs: etcd fills up and frees itself."""

import pytest

from drills.demo import Terminal
from drills.space import DEMO, FILLING, Drill, Phases, start
from drills.stack import Stack
from drills.stack.process import ETCD_VERSION

pytestmark = pytest.mark.e2e


def in_order(phases: Phases) -> list[float]:
    """The phases' moments, in the order in which they have to come."""
    moments = (phases.warned, phases.nospace, phases.accepted, phases.started, phases.restored, phases.cluster_restored)
    return [moment for moment in moments if moment is not None]


@pytest.mark.parametrize("version", [pytest.param("", id="etcd"), pytest.param("3.6", id="etcd 3.6")])
def test_a_full_etcd_is_warned_of_then_frees_itself_and_the_cluster_comes_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv(ETCD_VERSION, version)
    terminal = Terminal()
    drill = Drill(start(stack, DEMO), tell=terminal.tell, progress=terminal.progress)

    phases = drill.play()

    assert drill.run is not None
    assert drill.run.state == "succeeded", drill.run.reason
    assert phases.missing == ()
    assert in_order(phases) == sorted(in_order(phases))
    defragmented = [step.target for step in drill.run.steps if step.kind == "defragment"]
    assert drill.run.plan is not None
    (filled,) = [line for line in drill.run.plan.because if line.startswith(FILLING)]
    assert "): history " in filled, "it was counted, and history was found to be the most"
    assert sorted(defragmented) == ["etcd-1", "etcd-2", "etcd-3"]
