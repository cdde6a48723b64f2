import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.another_apiserver_is_ok import another_apiserver_is_ok
from tests.remediator.guards.planes import OK, OTHER, SICK, STALLED, UNKNOWN, WELL, plane


@pytest.mark.parametrize("third", [OK, STALLED, UNKNOWN])
def test_one_suffices(third: str) -> None:
    said = another_apiserver_is_ok(plane({SICK: STALLED, WELL: OK, OTHER: third}))
    assert said.verdict is Verdict.ALLOW
    assert said.reason.startswith(f"ok: {WELL}")


def test_when_all_stall_it_is_not_one_channel() -> None:
    said = another_apiserver_is_ok(plane({SICK: STALLED, WELL: STALLED, OTHER: STALLED}))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason.startswith(
        "all 3 apiservers stall at once: that is not one apiserver's channel. A person has to"
    )


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({WELL: STALLED, OTHER: UNKNOWN}, f"({WELL}: channel_stalled, {OTHER}: unknown)"),
        ({WELL: (OK, STALLED)}, f"({WELL}: channel_stalled and ok, {OTHER}: no fresh evidence)"),
    ],
)
def test_none_is_seen_to_be_well(verdicts: dict[str, str], words: str) -> None:
    said = another_apiserver_is_ok(plane({SICK: STALLED, **verdicts}))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == f"no other apiserver is seen to be ok {words}"


def test_who_is_well_by_evidence_alone_does_not_count() -> None:
    """An exporter may be wrong; its own word is asked for as well."""
    unready = {WELL: "connection refused", OTHER: "503: [-]etcd failed"}
    said = another_apiserver_is_ok(plane(unready=unready))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == (
        f"no other apiserver is seen to be ok ({WELL}: ok, but it does not say that it is ready: connection refused, "
        f"{OTHER}: ok, but it does not say that it is ready: 503: [-]etcd failed)"
    )
    one = another_apiserver_is_ok(plane(unready={WELL: "connection refused"}))
    assert (one.verdict, one.reason) == (Verdict.ALLOW, f"ok: {OTHER}")


def test_the_only_apiserver_there_is() -> None:
    said = another_apiserver_is_ok(plane(names=(SICK,)))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == "no other apiserver is seen to be ok (there is none)"
