"""A channel to etcd stalls on a real apiserver, and the remediator cures it: everything real, nobody looks."""

from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

import pytest

from drills.cure import CUT, RESTART, Ground, running
from drills.relay import Fault, Mode
from drills.stack import Apiserver
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.exposition import Sample
from kube_ballast.clients.remediator import Run
from kube_ballast.config import HttpConfig
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

FINAL = {"succeeded", "failed", "cancelled", "suppressed", "expired", "outcome_unknown"}
WITHIN = 120.0
RELISTS = "apiserver_watch_cache_initializations_total"
"""Each time that a cache is filled anew by a list."""
OLD_MUTE = Fault(Mode.MUTE, only_old=True)


def relists(ground: Ground, apiserver: Apiserver) -> float:
    """As the apiserver counts them; the page hangs for seconds while its channels are stalled."""
    found: list[Sample] = []
    ApiserverMetrics(HttpConfig(url=apiserver.url, tls=ground.files)).read((RELISTS,), found.append, timeout=30.0)
    assert found, "this apiserver counts them"
    return sum(sample.value for sample in found)


def ended(ground: Ground, runbook: str, *, besides: frozenset[str] = frozenset()) -> Run:
    """The run of that runbook that ends first, and that is none of ``besides``."""

    def there() -> str | None:
        runs = ground.ctl().runs(limit=20, timeout=10)
        return next(
            (run.id for run in runs if run.runbook == runbook and run.state in FINAL and run.id not in besides), None
        )

    found = eventually(there, within=WITHIN, every=0.2)
    assert found is not None
    return ground.ctl().run(found, timeout=10)


def reads_etcd(ground: Ground, apiserver: Apiserver) -> bool:
    """Whether a quorum read through that apiserver passes."""
    return ground.client(apiserver).text("/readyz/etcd-readiness", timeout=5) == "ok"


def test_old_connections_that_are_sick_are_cut_and_the_apiserver_goes_on() -> None:
    with running() as ground:
        pid, before = ground.sick.process.pid, relists(ground, ground.sick)
        ground.set(OLD_MUTE)
        run = ended(ground, CUT)
        assert run.state == "succeeded", run.reason
        assert " is ok again, by evidence " in run.reason
        [step] = run.steps
        assert step.result is not None
        assert f"connections that process {pid} had to" in step.result
        assert any("changed: [cp-1]" in entry.words for entry in run.timeline), "what Ansible said is kept"
        assert reads_etcd(ground, ground.sick)
        assert (ground.sick.process.pid, ground.sick.process.running) == (pid, True)
        assert relists(ground, ground.sick) == before


def test_where_new_connections_stall_as_well_it_says_so_and_a_restart_follows_once(tmp_path: Path) -> None:
    wanted, done = tmp_path / "wanted", tmp_path / "done"
    script = tmp_path / "restart"
    # The apiserver is this process' child, so that its parent has to start it again.
    script.write_text(
        f'#!/bin/sh\nkill -9 "$BALLAST_APISERVER_PID" && touch {wanted}\nwhile [ ! -e {done} ]; do sleep 0.1; done\n'
    )
    script.chmod(0o755)

    def by_command(_apiserver: Apiserver, _folder: Path) -> Mapping[str, object]:
        return {"command": [str(script)]}

    knobs = {RESTART: {"canary_within": "90s"}}
    with running(runbooks=(CUT, RESTART), restart=by_command, knobs=knobs) as ground, starting(ground, wanted, done):
        pid = ground.sick.process.pid
        ground.set(Fault(Mode.MUTE))
        run = ended(ground, CUT)
        assert run.state == "failed"
        assert "new connections to" in run.reason
        assert "they stall as well: what lies between it and etcd is sick" in run.reason
        assert sum(entry.event == "step_started" for entry in run.timeline) == 1, "no second attempt"
        # What is sick gets well, so that the restart can help. Connections that are mute stay so.
        ground.set(OLD_MUTE)
        restarts: list[Run] = []
        while not restarts or restarts[-1].state in {"cancelled", "suppressed"}:
            restarts.append(ended(ground, RESTART, besides=frozenset(one.id for one in restarts)))
        assert restarts[-1].state == "succeeded", restarts[-1].reason
        assert ground.sick.process.pid != pid
        assert reads_etcd(ground, ground.sick)


class starting:  # noqa: N801 - a context
    """Starts the apiserver again once ``wanted`` is there, as its supervisor would."""

    def __init__(self, ground: Ground, wanted: Path, done: Path) -> None:
        self._ground, self._wanted, self._done, self._over = ground, wanted, done, Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if self._wanted.exists():
                self._ground.sick.process.restart()
                self._done.touch()
                return
