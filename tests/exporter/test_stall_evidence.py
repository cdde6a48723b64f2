"""What the probes' answers amount to: time lines of what really happens, set by hand."""

import time
from typing import Final

import pytest

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_apiserver import CACHED, CANARY, PING, READINESS, READS, Server
from ballast_exporter.stall_canary import DELIVERY
from ballast_exporter.stall_history import History
from ballast_exporter.stall_probes import Probes
from kube_ballast.analysis.stall import Answer, Verdict
from kube_ballast.config import EtcdConfig, EtcdMemberConfig, HttpConfig

NAME, OTHER = "10.0.0.1:6443", "10.0.0.2:6443"
MEMBER, SECOND = "10.0.0.1:2379", "10.0.0.2:2379"
ALL: Final = (PING, READINESS, CANARY, DELIVERY, *READS)


class Life:
    """Two apiservers and the members that both use, whose probes are answered as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, members: int = 1) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        servers = [Server(HttpConfig(url=f"https://{name}")) for name in (NAME, OTHER)]
        names = (MEMBER, SECOND)[:members]
        etcd = EtcdConfig(members=tuple(EtcdMemberConfig(endpoint=f"http://{name}") for name in names))
        self.probes = Probes(servers, etcd, RequestCounter())
        self.history = History(lambda: self.now, lambda: 0.0)
        self.probes._history = self.probes._members._history = self.history
        self.probes._ask_these = lambda _servers: None  # type: ignore[method-assign]
        self.probes._asked = {each.name: Known(each) for each in servers}  # type: ignore[assignment]
        for name in (NAME, OTHER):
            for probe in ALL:
                self.answers(probe, name=name)
        for name in names:
            self.members(which=name)
        self.lives(101.0)

    def lives(self, until: float) -> None:
        while self.now < until:
            self.now = min(self.now + 0.25, until)
            self.history.tick()

    def answers(self, probe: str, answer: Answer = Answer.OK, *, took: float = 0.0, name: str = NAME) -> None:
        began = self.now
        self.lives(began + took)
        self.history.add(name, probe, began, answer)

    def members(self, answer: Answer = Answer.OK, *, which: str = MEMBER) -> None:
        for probe in ("linearizable", "serializable"):
            self.answers(probe, answer, name=which)

    def compared(self, probe: str = "pods") -> None:
        self.answers(PING)
        self.answers(CACHED[probe])
        self.members()

    def hangs(self, probe: str = "pods", *, compared: bool = True, others: bool = False) -> None:
        """For its second, while ping and members are asked; with ``others`` another read is answered too."""
        began = self.now
        if compared:
            self.lives(began + 0.05)
            self.compared(probe)
        if others:
            self.answers("nodes")
        self.lives(began + 1.0)
        self.history.add(NAME, probe, began, Answer.TIMEOUT)

    def stalls(self) -> None:
        """A channel that hangs twice while all else answers."""
        self.hangs(compared=False)
        self.compared()
        self.lives(self.now + 0.3)
        self.hangs(others=True)

    @property
    def verdict(self) -> Verdict:
        return self.probes.judgements()[NAME].verdict


class Known:
    """An apiserver that nobody asks."""

    def __init__(self, server: Server) -> None:
        self.server = server


def test_a_channel_that_hangs_twice_while_all_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.stalls()
    assert life.verdict is Verdict.CHANNEL_STALLED


def test_an_apiserver_that_stands_still_for_two_seconds_and_a_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its read's second failure ends when all else has been answered already."""
    life = Life(monkeypatch)
    life.hangs(compared=False)
    life.lives(life.now + 0.3)
    life.hangs(compared=False, others=True)
    life.compared()
    assert life.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("first", [True, False])
def test_one_that_stands_still_twice_in_a_row(monkeypatch: pytest.MonkeyPatch, *, first: bool) -> None:
    """All is answered between the two, or during the last, and not both."""
    life = Life(monkeypatch)
    life.hangs(compared=False)
    if first:
        life.compared()
    life.lives(life.now + 0.3)
    life.hangs(compared=not first, others=True)
    life.lives(life.now + 0.05)
    life.compared()
    assert life.verdict is Verdict.UNKNOWN


def test_a_member_that_is_not_seen_to_answer_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.hangs(compared=False)
    life.answers(PING)
    life.lives(life.now + 0.3)
    began = life.now
    life.answers(PING)
    life.answers("nodes")
    life.lives(began + 1.0)
    life.history.add(NAME, "pods", began, Answer.TIMEOUT)
    life.lives(life.now + 0.05)
    life.compared()
    assert life.verdict is Verdict.UNKNOWN


def test_what_fails_at_once_is_a_channel_where_all_else_was_answered_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life = Life(monkeypatch)
    life.answers("pods", Answer.ERROR)
    life.lives(life.now + 0.3)
    life.compared()
    life.answers("nodes")
    life.lives(life.now + 1.0)
    life.answers("pods", Answer.ERROR)
    assert life.verdict is Verdict.CHANNEL_STALLED


def test_a_member_that_was_refused_once_asks_for_four_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an etcd is restarted within a second: its apiserver has not dialled it again."""
    life = Life(monkeypatch)
    life.members(Answer.REFUSED)
    life.members()
    verdicts = []
    for _ in range(4):
        life.hangs(others=True)
        life.compared()
        life.lives(life.now + 0.3)
        verdicts.append(life.verdict)
    assert verdicts[1:] == [Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.CHANNEL_STALLED]


def test_what_was_proved_once_is_not_taken_back_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is late for a moment does not answer well during each failure."""
    life = Life(monkeypatch)
    life.stalls()
    life.lives(life.now + 3.0)
    life.hangs(compared=False)
    life.lives(life.now + 0.05)
    life.compared()
    assert life.verdict is Verdict.CHANNEL_STALLED


@pytest.mark.parametrize(("gone", "verdict"), [(True, Verdict.UNKNOWN), (False, Verdict.UNREACHABLE)])
def test_a_ping_that_hangs_is_no_name_while_it_may_be_starting(
    monkeypatch: pytest.MonkeyPatch, *, gone: bool, verdict: Verdict
) -> None:
    life = Life(monkeypatch)
    if gone:
        life.answers("pods", Answer.REFUSED)
    for _ in range(2):
        life.answers(PING, Answer.TIMEOUT, took=1.0)
    assert life.verdict is verdict
    life.lives(life.now + 9.0)
    life.answers(PING, Answer.TIMEOUT, took=1.0)
    assert life.verdict is Verdict.UNREACHABLE


def test_a_single_failure_makes_nothing_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.hangs(compared=False)
    assert life.verdict is Verdict.OK


@pytest.mark.parametrize(("meanwhile", "verdict"), [(True, Verdict.ETCD_MEMBER_BAD), (False, Verdict.OK)])
def test_a_member_is_bad_alone_where_another_answered_while_it_failed(
    monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool, verdict: Verdict
) -> None:
    """When a quorum is back, one answers, and another has not been asked since."""
    life = Life(monkeypatch, members=2)
    life.hangs(compared=False)
    life.answers("pods")
    for turn in range(2):
        for probe in ("linearizable", "serializable"):
            life.answers(probe, Answer.TIMEOUT, took=1.0, name=MEMBER)
        if meanwhile or turn:
            life.members(which=SECOND)
    assert life.verdict is verdict


def test_what_uses_only_members_that_are_asked_is_judged_though_etcd_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.probes._members._voters = ("http://10.0.0.1:2379", "http://10.0.0.2:2379")
    life.stalls()
    assert life.verdict is Verdict.UNKNOWN, "it may use the other one"
    life.probes._asked = {NAME: Known(Server(HttpConfig(url=f"https://{NAME}"), (f"http://{MEMBER}",)))}  # type: ignore[dict-item]
    life.probes._asked[OTHER] = Known(Server(HttpConfig(url=f"https://{OTHER}")))  # type: ignore[index]
    assert life.verdict is Verdict.CHANNEL_STALLED


def test_a_read_that_hangs_from_the_watch_cache_too_is_held_up_before_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as by a blocking audit log whose policy leaves Leases and health checks out."""
    life = Life(monkeypatch)
    for turn in range(6):
        began = life.now
        life.lives(began + 0.05)
        life.answers(PING)
        life.members()
        life.answers("leases")
        life.answers(CANARY)
        life.lives(began + 1.0)
        life.history.add(NAME, "pods", began, Answer.TIMEOUT)
        life.history.add(NAME, CACHED["pods"], began, Answer.TIMEOUT)
        life.lives(life.now + 0.3)
        assert life.verdict is (Verdict.UNKNOWN if turn else Verdict.OK)
    life.answers(CACHED["pods"])
    assert life.verdict is Verdict.UNKNOWN, "what held them up lets go"


def test_what_was_proved_stays_proved_when_the_watch_cache_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.stalls()
    assert life.verdict is Verdict.CHANNEL_STALLED
    for _ in range(100):  # more than are remembered
        life.lives(life.now + 3.0)
        life.answers(PING)
        life.members()
        for probe in (READINESS, *READS, CANARY):
            if probe not in {"pods", "nodes"}:
                life.answers(probe)
        life.answers("nodes")
        for probe in ALL:
            life.answers(probe, name=OTHER)
        life.hangs(compared=False)
    assert life.verdict is Verdict.CHANNEL_STALLED


def test_a_ping_that_is_late_since_takes_no_name_back(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    life.stalls()
    assert life.verdict is Verdict.CHANNEL_STALLED
    life.answers(PING, Answer.SLOW, took=0.45)
    assert life.verdict is Verdict.CHANNEL_STALLED


def test_news_that_is_overdue_accuses_the_watch_only_after_a_later_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the channel of Leases alone is stalled, the next write through it fails too."""
    life = Life(monkeypatch)
    overdue = life.now
    life.lives(overdue + 2.5)
    for _ in range(2):
        life.history.add(NAME, DELIVERY, overdue, Answer.TIMEOUT)
    life.compared()
    assert life.verdict is Verdict.UNKNOWN
    life.answers(CANARY)
    assert life.verdict is Verdict.WATCH_STALE


def test_a_member_whose_last_failure_ended_after_the_quorum_was_back_is_not_bad_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life = Life(monkeypatch, members=2)
    life.hangs(compared=False)
    life.answers("pods")
    for which in (MEMBER, SECOND):
        life.answers("linearizable", Answer.TIMEOUT, took=1.5, name=which)
    began = life.now
    life.lives(began + 1.0)
    life.members(which=SECOND)  # it is back
    life.lives(began + 1.3)
    for probe in ("linearizable", "serializable"):
        life.history.add(MEMBER, probe, began, Answer.TIMEOUT)
        life.history.add(MEMBER, probe, began, Answer.TIMEOUT)
    assert life.verdict is not Verdict.ETCD_MEMBER_BAD


def test_an_apiserver_whose_process_has_just_begun_may_be_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for an exporter that began in the same moment, and saw nobody refuse."""
    life = Life(monkeypatch)
    life.stalls()
    assert life.verdict is Verdict.CHANNEL_STALLED
    monkeypatch.setattr(life.probes._pages, "started", lambda name: time.time() - 5.0 if name == NAME else None)
    assert life.verdict is Verdict.UNKNOWN


def test_what_etcd_itself_answers_came_through_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch)
    for _ in range(2):
        life.compared()
        life.lives(life.now + 0.3)
        life.history.add(NAME, "pods", life.now, Answer.ERROR, "GET: 500: etcdserver: permission denied")
        life.lives(life.now + 1.0)
    assert life.verdict is Verdict.UNKNOWN
    assert "etcdserver: permission denied" in " ".join(life.probes.judgements()[NAME].reasons)
