"""What counts in the stall's drill, and what its tables say."""

from pathlib import Path

import msgspec
import pytest

from drills.stall.__main__ import main
from drills.stall.cures import BACK_SECONDS, CURES, SETTLED_WRITES, Cured, Writer
from drills.stall.lookalikes import LOOKALIKES
from drills.stall.making import Options
from drills.stall.observe import Tally
from drills.stall.rows import ALERT_SECONDS, UNKNOWN_SECONDS, VERDICT_SECONDS, Row, Rows, table, version
from drills.stall.watch import ALERTS, BLAMELESS, Account
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig

NAMES = ("127.0.0.1:1", "127.0.0.2:1")
STALLED = ("ApiserverChannelStalled", NAMES[0])
WELL = Row("mute", Verdict.CHANNEL_STALLED, 3.0, 9.0, (), None, 0.0, 20.0, ("etcd answers",), "a", "local")


def seen(
    *verdicts: Verdict | None, other: Verdict = Verdict.OK, expected: Verdict = Verdict.CHANNEL_STALLED
) -> Account:
    """One look a second."""
    account = Account(expected, NAMES)
    for second, verdict in enumerate(verdicts):
        account.see(float(second), (verdict, other), ())
    return account


def test_the_first_right_verdict_counts() -> None:
    account = seen(Verdict.OK, Verdict.UNKNOWN, Verdict.CHANNEL_STALLED, Verdict.CHANNEL_STALLED)
    assert (account.verdict_at, account.wrong, account.lost_at, account.unknown_seconds) == (2.0, set(), None, 0.0)


def test_a_right_verdict_that_falls_back_to_ok_is_lost() -> None:
    assert seen(Verdict.CHANNEL_STALLED, Verdict.CHANNEL_STALLED, Verdict.OK).lost_at == 2.0


def test_unknown_in_between_is_no_loss_and_its_seconds_add_up() -> None:
    account = seen(Verdict.CHANNEL_STALLED, Verdict.UNKNOWN, None, Verdict.CHANNEL_STALLED)
    assert (account.lost_at, account.unknown_seconds) == (None, 2.0)


def test_another_name_is_wrong_before_and_after_the_right_one() -> None:
    assert seen(Verdict.ETCD_SLOW, Verdict.CHANNEL_STALLED).wrong == {"etcd_slow"}
    assert seen(Verdict.CHANNEL_STALLED, Verdict.DOWN).wrong == {"down"}


def test_the_other_apiserver_may_have_the_name_only_where_it_has_the_fault() -> None:
    assert seen(Verdict.CHANNEL_STALLED, other=Verdict.CHANNEL_STALLED).wrong == {
        "channel_stalled of the other apiserver"
    }
    both = Account(Verdict.ETCD_DOWN, NAMES, Verdict.ETCD_DOWN)
    both.see(1.0, (Verdict.ETCD_DOWN, Verdict.ETCD_DOWN), ())
    assert not both.wrong


def test_the_page_of_the_verdict_counts_and_any_other_is_wrong() -> None:
    account = Account(Verdict.CHANNEL_STALLED, NAMES)
    account.see(4.0, (Verdict.CHANNEL_STALLED, Verdict.OK), {("ApiserverChannelStalled", NAMES[1])})
    assert (account.alert_at, account.wrong) == (None, {f"ApiserverChannelStalled on {NAMES[1]}"})
    account.see(9.0, (Verdict.CHANNEL_STALLED, Verdict.OK), {STALLED})
    assert account.alert_at == 9.0


def test_a_page_on_etcd_names_no_apiserver() -> None:
    account = Account(Verdict.ETCD_DOWN, NAMES, Verdict.ETCD_DOWN)
    account.see(6.0, (Verdict.ETCD_DOWN, Verdict.ETCD_DOWN), {("EtcdDown", "")})
    assert (account.alert_at, account.wrong) == (6.0, set())


def test_every_verdict_that_blames_somebody_has_a_page() -> None:
    assert set(ALERTS) == set(Verdict) - BLAMELESS


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": None},
        {"verdict": VERDICT_SECONDS + 0.1},
        {"alert": None},
        {"alert": ALERT_SECONDS + 0.1},
        {"wrong": ("down",)},
        {"lost": 12.0},
        {"unknown": UNKNOWN_SECONDS + 0.1},
    ],
)
def test_each_target_can_be_missed(changes: dict[str, object]) -> None:
    assert not WELL.misses
    assert len(msgspec.structs.replace(WELL, **changes).misses) == 1


def test_the_table_gives_the_worst_the_median_and_what_never_came() -> None:
    slower = msgspec.structs.replace(WELL, verdict=5.0, wrong=("down",))
    slowest = msgspec.structs.replace(WELL, verdict=7.0, alert=None)
    line = table([WELL, slower, slowest]).splitlines()[-1]
    assert "| 3 | 7.0 s (5.0 s) | never in 1 of 3 | 1 |" in line


def test_rows_that_another_version_made_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    Rows(file, Row, "a").add(WELL)
    Rows(file, Row, "b").add(msgspec.structs.replace(WELL, code="b", verdict=4.0))
    assert Rows(file, Row, "a").read() == (WELL,)
    assert [row.verdict for row in Rows(file, Row, "b").read()] == [4.0]


def test_the_version_follows_from_the_files_that_decide() -> None:
    assert version() == version()
    assert version(["lib/kube_ballast/analysis/stall.py"]) != version(["drills/relay/*.py"])


def test_all_are_made_once_before_any_is_made_twice() -> None:
    assert Options(names=("a", "b"), times=2).left(["a"]) == ["b", "a", "b"]
    assert not Options(names=("a",), times=1).left(["a"])


def test_a_name_that_is_not_allowed_is_false_and_its_reasons_are_kept() -> None:
    tally = Tally((BLAMELESS | {Verdict.DOWN}, BLAMELESS))
    tally.see(1.0, (Verdict.DOWN, Verdict.OK), "why")
    tally.see(2.0, (Verdict.UNKNOWN, Verdict.DOWN), "because")
    tally.see(0.5, (None, Verdict.OK), "")
    assert tally.false == {"down of the other apiserver": "because"}
    assert tally.seconds[0] == {"down": 1.0, "unknown": 2.0, "nothing": 0.5}


def test_a_channel_is_never_what_a_lookalike_may_be_called() -> None:
    for each in LOOKALIKES:
        assert Verdict.CHANNEL_STALLED not in each.first | each.other | each.shared, each.name


def test_writes_are_back_when_they_go_on_working() -> None:
    writer = Writer(HttpClient(HttpConfig(url="http://127.0.0.1:1")))
    writer.answers = [(0.0, True), (1.0, False), (2.0, True), (3.0, False), (4.0, True)]
    assert writer.back_since() is None
    writer.answers += [(5.0 + more, True) for more in range(SETTLED_WRITES)]
    assert writer.back_since() == 4.0


def test_a_cut_that_comes_late_or_costs_relists_misses_and_a_restart_is_only_compared() -> None:
    assert not Cured(CURES[0], BACK_SECONDS, 9, 0).misses
    assert len(Cured(CURES[0], BACK_SECONDS + 0.1, 9, 1).misses) == 2
    assert Cured(CURES[0], None, 9, 0).misses
    assert not Cured(CURES[1], 60.0, 9, 58).misses


def test_an_unknown_fault_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "mutes"]) == 2
    assert "mute one resource" in capsys.readouterr().err


def test_what_is_not_made_ends_with_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--minutes", "0", "--times", "2", "--only", "mute"]) == 1
    assert "not made yet: 2 rows" in capsys.readouterr().err
