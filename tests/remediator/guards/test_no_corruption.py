from ballast_remediator.contract import Verdict
from ballast_remediator.guards.no_corruption import no_corruption
from kube_ballast.clients.etcd.types import Alarm, AlarmKind
from tests.remediator.guards.states import cluster


def test_nospace_alone() -> None:
    assert no_corruption(cluster()).verdict is Verdict.ALLOW
    assert no_corruption(cluster(alarms=())).verdict is Verdict.ALLOW


def test_corrupt_on_a_known_and_on_an_unknown_member() -> None:
    armed = (Alarm(1, AlarmKind.NOSPACE), Alarm(2, AlarmKind.CORRUPT), Alarm(255, AlarmKind.CORRUPT))
    answer = no_corruption(cluster(alarms=armed))
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing
    assert answer.reason.startswith("the alarm CORRUPT is armed on ff, m2. Leave everything as it is")


def test_alarms_that_nobody_can_list() -> None:
    answer = no_corruption(cluster(alarms=None))
    assert answer.verdict is Verdict.REFUSE
    assert answer.passing
    assert answer.reason == "the alarms cannot be listed, so CORRUPT cannot be ruled out"
