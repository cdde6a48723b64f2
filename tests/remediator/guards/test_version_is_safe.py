from dataclasses import replace

import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.version_is_safe import version_is_safe
from tests.remediator.guards.states import MEMBER, cluster, member


@pytest.mark.parametrize("version", ["3.5.23", "3.5.30", "3.6.5", "3.6.12-rc.0"])
def test_from_the_floor_on(version: str) -> None:
    answer = version_is_safe(cluster(member(1, status={"version": version})))
    assert answer.verdict is Verdict.ALLOW
    assert "3.5.23 or a later 3.5 and 3.6.5 or a later 3.6" in answer.reason


@pytest.mark.parametrize("version", ["3.5.22", "3.6.4", "3.4.37", "3.7.0", "4.0.0", "", "unknown", "3.5"])
def test_below_it_and_what_nobody_has_tried(version: str) -> None:
    state = cluster(member(1), member(2, status={"version": version}))
    answer = version_is_safe(state)
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing
    assert answer.reason.startswith(f"m2 runs {version}; tried and safe are 3.5.23")
    assert answer.reason.endswith("Upgrade etcd, or accept the risk with accept_unsafe_versions")

    accepted = version_is_safe(state, accept_unsafe=True)
    assert accepted.verdict is Verdict.ALLOW
    assert accepted.reason.startswith(f"m2 runs {version}; ")
    assert "The configuration accepts the risk" in accepted.reason


def test_a_version_that_is_unknown_cannot_be_accepted() -> None:
    answer = version_is_safe(cluster(replace(MEMBER, status=None)), accept_unsafe=True)
    assert answer.verdict is Verdict.REFUSE
