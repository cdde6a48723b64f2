"""What counts in the stall's drill, and what its tables say."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import msgspec
import pytest

from benchmarks import stall as benchmark
from benchmarks.report import Report
from drills.cure import CUT, RESTART
from drills.stack import Stack, StackError
from drills.stall import cures, faults, lookalikes, making, observe, rows
from drills.stall.__main__ import main
from drills.stall.audit_webhook import AuditWebhook
from drills.stall.cures import BACK_SECONDS, CURES, SETTLED_WRITES, SUCCEEDED, Cured, Writer
from drills.stall.lookalikes import LOOKALIKES, NotMade
from drills.stall.making import FAULTS_FILE, LOOKALIKES_FILE, Options
from drills.stall.observe import NOTHING, NOTHING_SHARE, Observed, Tally
from drills.stall.rows import (
    ALERT_SECONDS,
    LOOKALIKES_DECIDE,
    RENEWING,
    UNKNOWN_SECONDS,
    VERDICT_SECONDS,
    Row,
    Rows,
    table,
)
from drills.stall.watch import ALERTS, BLAMELESS, Account
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.errors import Conflict
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig, TLSFiles
from tests.waiting import eventually

NAMES = ("127.0.0.1:1", "127.0.0.2:1")
STALLED = ("ApiserverChannelStalled", NAMES[0])
WELL = Row("mute", Verdict.CHANNEL_STALLED, 3.0, 9.0, (), None, 0.0, 20.0, ("etcd answers",), 4.0, "a", "local")
SEEN = Observed("idle cluster", 130.0, {"ok": 130.0}, {"ok": 130.0}, (), 0.5, 0.1)


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


def test_a_fault_of_both_is_named_once_it_is_told_of_both() -> None:
    account = Account(Verdict.ETCD_DOWN, NAMES, Verdict.ETCD_DOWN, both=True)
    account.see(1.0, (Verdict.ETCD_DOWN, Verdict.OK), ())
    assert account.verdict_at is None
    account.see(2.0, (Verdict.ETCD_DOWN, Verdict.ETCD_DOWN), ())
    assert account.verdict_at == 2.0


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
        {"well": None},
        {"renewing": RENEWING - 0.1},
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


def test_a_line_that_a_run_was_ended_in_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    kept = Rows(file, Row)
    made = msgspec.structs.replace(WELL, code=kept.code)
    kept.add(made)
    with file.open("ab") as torn:
        torn.write(msgspec.json.encode(made)[:-20])
    assert kept.read() == (made,)
    kept.add(made)
    assert kept.read() == (made, made)


def test_a_row_of_other_sources_does_not_count_and_none_is_kept_whose_sources_changed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    source = tmp_path / "judge.py"
    source.write_text("a")
    kept = Rows(tmp_path / "rows.jsonl", Row, ["*.py"])
    kept.add(msgspec.structs.replace(WELL, code=kept.code))
    kept.add(msgspec.structs.replace(WELL, code="of other sources"))
    assert len(kept.read()) == 1
    source.write_text("b")
    with pytest.raises(SystemExit, match="changed while it was made"):
        kept.add(msgspec.structs.replace(WELL, code=kept.code))
    assert Rows(tmp_path / "rows.jsonl", Row, ["*.py"]).read() == ()


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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"false": ("down of the other apiserver: why",)}, "false: down"),
        ({"well_again": None}, "not well again"),
        ({"first": {NOTHING: 130 * NOTHING_SHARE + 1}}, "nothing told of the first apiserver"),
        ({"other": {NOTHING: 130 * NOTHING_SHARE + 1}}, "nothing told of the other apiserver"),
        ({"least": 0.8, "busy": 0.7}, "0.7 processors, not 0.8"),
        ({"least": 0.8, "busy": None}, "restarted, not 0.8"),
        ({"not_made": "the leader never changed"}, "the leader never changed"),
    ],
)
def test_a_lookalike_that_was_none_or_was_not_watched_misses(changes: dict[str, object], says: str) -> None:
    assert not SEEN.misses
    [miss] = msgspec.structs.replace(SEEN, **changes).misses
    assert says in miss


def test_unknown_may_be_said_all_the_time_and_nothing_for_half_of_it() -> None:
    assert not msgspec.structs.replace(SEEN, first={"unknown": 130.0}, other={NOTHING: 72.0}, busy=None).misses


def test_what_was_not_made_is_written_into_the_row() -> None:
    def during(_ground: object) -> Iterator[None]:
        yield
        raise NotMade("it did not happen")

    pid = SimpleNamespace(pid=1)
    ground: Any = SimpleNamespace(control=SimpleNamespace(apiservers=[SimpleNamespace(process=pid)]), shared=False)
    watcher: Any = SimpleNamespace(
        until_well=lambda: None, verdicts=lambda: (Verdict.OK, Verdict.OK), reasons={"a": ("etcd answers",)}
    )
    row = observe.observe(ground, watcher, lookalikes.Lookalike("idle cluster", during, least=99.0), 0.2)
    assert (row.not_made, row.least, row.false) == ("it did not happen", 99.0, ())
    assert row.lasted >= 0.2


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
    assert not Cured(CURES[0], BACK_SECONDS, 9, 0, SUCCEEDED).misses
    assert len(Cured(CURES[0], BACK_SECONDS + 0.1, 9, 1, SUCCEEDED).misses) == 2
    assert Cured(CURES[0], None, 9, 0, SUCCEEDED).misses
    assert Cured(CURES[0], BACK_SECONDS, 9, None, SUCCEEDED).misses
    assert not Cured(CURES[1], 60.0, 9, 58).misses


def test_a_cut_that_no_run_is_seen_to_have_made_misses() -> None:
    assert Cured(CURES[0], BACK_SECONDS, 9, 0, "failed").misses == ("the runbook: failed",)
    assert Cured(CURES[0], BACK_SECONDS, 9, 0).misses == ("the runbook: no run",)


def test_an_unknown_fault_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "mutes"]) == 2
    assert "mute one resource" in capsys.readouterr().err


def test_what_is_not_made_ends_with_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--minutes", "0", "--times", "2", "--only", "mute"]) == 1
    assert "not made yet: 2 rows" in capsys.readouterr().err


def test_more_than_asked_for_of_one_does_not_hide_what_another_lacks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Rows(FAULTS_FILE, Row)
    names = [each.name for each in faults.SICKNESSES]
    for name in [names[0], *names[:-1]]:
        kept.add(msgspec.structs.replace(WELL, fault=name, code=kept.code))
    assert main(["--minutes", "0"]) == 1
    assert "not made yet: 1 rows" in capsys.readouterr().err
    kept.add(msgspec.structs.replace(WELL, fault=names[-1], code=kept.code))
    assert main(["--minutes", "0"]) == 0


@pytest.fixture
def grounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """Each that was made, and rows in a folder of their own."""
    made: list[dict[str, bool]] = []

    @contextmanager
    def running(**how: bool) -> Iterator[SimpleNamespace]:
        made.append(how)
        fleet = SimpleNamespace(renewed_every=0)
        yield SimpleNamespace(control=None, stack=SimpleNamespace(kwok=lambda *_, **__: fleet))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(making, "running", running)
    monkeypatch.setattr(making, "plant", lambda _ground: None)
    monkeypatch.setattr(making, "Watcher", lambda _ground: None)
    return made


def test_what_is_not_well_again_leaves_its_ground_to_nobody(
    grounds: list[dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_ground: object, _watcher: object, sickness: faults.Sickness) -> Row:
        return msgspec.structs.replace(WELL, fault=sickness.name, well=None if sickness.name == "reset" else 4.0)

    monkeypatch.setattr(making, "measure", measure)
    made = making.faults(Options(names=("mute", "reset", "drop-watch")))
    assert [row.fault for row in made] == ["mute", "reset", "drop-watch"]
    assert len(grounds) == 2


def test_a_row_says_how_many_of_the_nodes_renewed_when_it_began(
    grounds: list[dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.2, 0.95, 0.5, 0.5])
    measured = iter([WELL, msgspec.structs.replace(WELL, fault="reset")])
    monkeypatch.setattr(making, "renewing", lambda _kubernetes, _fleet: next(shares))
    monkeypatch.setattr(making, "measure", lambda _ground, _watcher, _sickness: next(measured))
    [row] = making.faults(Options(names=("mute",), nodes=5000))
    assert (row.renewing, row.nodes, row.misses) == (0.95, 5000, ())
    monkeypatch.setattr(making, "RENEWING_MORE_SECONDS", 0.5)
    [row] = making.faults(Options(names=("reset",), nodes=5000))
    assert len(row.misses) == 1
    assert "50% of the nodes" in row.misses[0]
    assert len(grounds) == 2


def test_only_the_lookalike_of_the_webhook_has_one_and_short_rows_do_not_count(
    grounds: list[dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def watched(_ground: object, _watcher: object, lookalike: lookalikes.Lookalike, seconds: float) -> Observed:
        seen.append((lookalike.name, len(grounds)))
        return msgspec.structs.replace(
            SEEN, name=lookalike.name, lasted=seconds, well_again=None if lookalike.name == "slow scrape" else 0.1
        )

    monkeypatch.setattr(observe, "observe", watched)
    kept = Rows(LOOKALIKES_FILE, Observed, LOOKALIKES_DECIDE)
    kept.add(msgspec.structs.replace(SEEN, name="idle cluster", lasted=30.0, code=kept.code, endpoints="local"))
    names = ("audit webhook stuck", "slow scrape", "idle cluster")
    made = making.lookalikes(Options(names=names))
    assert seen == [("audit webhook stuck", 1), ("slow scrape", 2), ("idle cluster", 3)]
    assert [how["audited"] for how in grounds] == [True, False, False]
    assert all(row.lasted == 130.0 for row in made)


class FakeEtcd:
    """One member of three, who share ``leaders``: who led, the last one now, 0 is nobody."""

    def __init__(self, number: int, leaders: list[int], takes: float) -> None:
        self._id, self.leaders, self._takes = number + 1, leaders, takes
        self.asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def status(self, *, timeout: float) -> SimpleNamespace:
        del timeout
        self.asked += 1
        return SimpleNamespace(member_id=self._id, leader_id=self.leaders[-1])

    def move_leader(self, target: int, *, timeout: float) -> None:
        del timeout
        if self.leaders[-1] != self._id or target == self._id:
            raise Conflict("etcd", "it does not lead")
        self.leaders.append(target)

    def defragment(self, *, timeout: float) -> None:
        del timeout
        self.asked += 1
        time.sleep(self._takes)

    def put(self, _key: bytes, _value: bytes, *, timeout: float) -> None:
        del timeout
        time.sleep(self._takes)


Members = Callable[..., list[FakeEtcd]]


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> Members:
    """Makes what a look-alike asks in place of etcd."""

    def make(leader: int = 1, takes: float = 0.0) -> list[FakeEtcd]:
        leaders = [leader]
        made = [FakeEtcd(number, leaders, takes) for number in range(3)]
        monkeypatch.setattr(lookalikes, "client", lambda _etcd, number=0: made[number])
        return made

    return make


def during(name: str, **ground: object) -> AbstractContextManager[None]:
    """A look-alike's block on that ground."""
    [made] = [each.during for each in LOOKALIKES if each.name == name]
    place: Any = SimpleNamespace(**ground)
    return contextmanager(made)(place)


def test_the_leader_is_passed_on_and_a_moment_without_one_is_passed_over(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookalikes, "EACH_SECONDS", 0.01)
    first = members(leader=0)[0]
    with during("leader change", etcd=None):
        eventually(lambda: first.asked > 2)
        first.leaders.append(2)
        eventually(lambda: len(first.leaders) > 4)
    assert first.leaders[:5] == [0, 2, 3, 1, 2]


def test_a_leader_that_never_changed_is_no_change(members: Members) -> None:
    first = members(leader=0)[0]
    with pytest.raises(NotMade, match="never changed"), during("leader change", etcd=None):
        eventually(lambda: first.asked > 1)


def test_a_defragmentation_that_nobody_feels_is_none(members: Members) -> None:
    first = members()[0]
    name = "defragmentation of each member in turn"
    with pytest.raises(NotMade, match=r"took 0\.0"), during(name, etcd=None):
        eventually(lambda: first.asked)
    first = members(takes=1.0)[0]
    with during(name, etcd=None):
        eventually(lambda: first.asked)


def slow_disks(stack: Stack, script: str, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    """With a program in place of strace."""
    program = stack.folder / "strace"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(lookalikes, "tool", lambda _name: program)
    return during("etcd with 200 ms disk latency", stack=stack, etcd=SimpleNamespace(members=[]))


def test_disks_are_slow_when_a_write_is(stack: Stack, members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    members(takes=0.2)
    with slow_disks(stack, "exec sleep 600", monkeypatch):
        pass
    assert [each.running for each in stack.processes] == [False]
    members(takes=0.0)
    with pytest.raises(StackError, match="ended with 1 before"), slow_disks(stack, "exit 1", monkeypatch):
        pass


def test_disks_that_were_not_slow_to_the_end_are_no_slow_disks(
    stack: Stack, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    members(takes=0.2)
    with pytest.raises(NotMade, match="strace ended"), slow_disks(stack, "exec sleep 600", monkeypatch):
        stack.processes[0].kill()


def test_the_webhook_holds_requests_while_it_is_stuck_and_says_that_it_did(tmp_path: Path) -> None:
    webhook = AuditWebhook(tmp_path)
    try:
        config = json.loads((tmp_path / "webhook.kubeconfig").read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = TLSFiles(ca=cluster["certificate-authority"], cert=user["client-certificate"], key=user["client-key"])
        http = HttpClient(HttpConfig(url=cluster["server"], tls=files))

        def send() -> int:
            return http.request("POST", "/", timeout=10.0, body=b"{}").status

        assert send() == 200
        assert not webhook.held.is_set()
        with pytest.raises(NotMade, match="held no request"), during("audit webhook stuck", audit=webhook):
            pass
        answers: list[int] = []
        sender = threading.Thread(target=lambda: answers.append(send()))
        with during("audit webhook stuck", audit=webhook):
            sender.start()
            assert webhook.held.wait(10.0)
            assert not answers
        sender.join()
        assert answers == [200]
    finally:
        webhook.close()


def test_a_run_of_the_runbook_has_to_succeed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([(), (RESTART, SUCCEEDED), (CUT, "running"), (CUT, SUCCEEDED), (CUT, "failed"), (CUT, "failed")])

    def runs(*, limit: int, timeout: float) -> list[SimpleNamespace]:
        del limit, timeout
        run = next(found)
        return [SimpleNamespace(runbook=run[0], state=run[1])] if run else []

    ground: Any = SimpleNamespace(ctl=lambda: SimpleNamespace(runs=runs))
    monkeypatch.setattr(cures, "EVERY_SECONDS", 0.0)
    assert cures._ended(ground) == SUCCEEDED
    monkeypatch.setattr(cures, "GIVES_UP_SECONDS", -1.0)
    assert cures._ended(ground) == "failed"


def test_a_fault_that_was_never_named_misses_in_the_benchmark(tmp_path: Path) -> None:
    out = io.StringIO()
    report = Report(out, tmp_path / "bench.jsonl")
    never = msgspec.structs.replace(WELL, verdict=None, unknown=UNKNOWN_SECONDS + 1, well=None)
    benchmark._drilled(report, [WELL, never])
    assert report.missed == [
        "stall_verdict_worst (not known: never in 1 of 2)",
        "stall_unknown_in_between_worst",
        "stall_faults_not_well_again",
    ]
    assert "Infinity" not in out.getvalue()
    report = Report(out, tmp_path / "bench.jsonl")
    benchmark._drilled(report, [WELL])
    assert not report.missed
