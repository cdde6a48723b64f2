"""What is wrong between one apiserver and etcd: a verdict from measurements, with its reasons. See docs/grpc-stall.md.

Nothing is blamed without evidence: a name takes two failures in a row of a probe that shows it, and, for a channel,
that everything else that could be at fault was measured and is well. What was not measured leads to `unknown`, never to
a name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FAILURES: Final = 2
"""In a row, before anything is named."""
FAILURES_IN_DOUBT: Final = 4
"""In a row, where something else may explain two: a late disk, a machine that was busy for a moment."""
WRITES: Final = "writes"
"""Of the canary's Lease: they take the channel of its reads, and more before it (admission, audit)."""
ETCD_SAYS: Final = "etcdserver: "
"""How an error begins that etcd's server sends (api/v3rpc/rpctypes/error.go)."""
HEALTH: Final = "health"
"""The channel that the apiserver's own check of etcd takes."""


class Verdict(StrEnum):
    """In words in docs/grpc-stall.md."""

    OK = "ok"
    ETCD_SLOW = "etcd_slow"
    ETCD_DOWN = "etcd_down"
    ETCD_MEMBER_BAD = "etcd_member_bad"
    CHANNEL_STALLED = "channel_stalled"
    WATCH_STALE = "watch_stale"
    OVERLOADED = "overloaded"
    DOWN = "down"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Answer(StrEnum):
    """How one probe ended."""

    OK = "ok"
    SLOW = "slow"
    """Right, and later than it may be."""
    TIMEOUT = "timeout"
    ERROR = "error"
    """The server says that it cannot."""
    REJECTED = "rejected"
    """429: turned away before it began."""
    REFUSED = "refused"
    """Nobody listens there."""
    DENIED = "denied"
    """Our credentials or rights do not suffice: it tells nothing of what was asked about."""


ANSWERED: Final = (Answer.OK, Answer.SLOW)
STUCK: Final = (Answer.TIMEOUT, Answer.ERROR)
"""What a sick way to etcd looks like from outside."""
DEAD: Final = (*STUCK, Answer.REFUSED)


def alike(one: Answer, other: Answer) -> bool:
    """Whether they are failures of one kind: others confirm nothing of each other."""
    return one is other or {one, other} <= set(STUCK)


@dataclass(frozen=True, slots=True)
class Measured:
    """The last answer of a probe, and how often in a row it was a failure of that kind (an `Answer.OK` has 0).

    ``lately`` counts its failures but 429 and the like, and late answers, of the last seconds, also where successes
    came between. ``said`` is what the failure said of itself.
    """

    answer: Answer
    failures: int = 0
    lately: int = 0
    said: str = ""

    @property
    def well(self) -> bool:
        return self.answer is Answer.OK

    def is_(self, *answers: Answer) -> bool:
        """One of these, and not for the first time."""
        return self.answer in answers and self.failures >= FAILURES


def was_late(probe: Measured) -> bool:
    """Whether it is, or was in the last seconds, late or worse."""
    return bool(probe.lately) or probe.answer is Answer.SLOW


@dataclass(frozen=True, slots=True)
class Member:
    """An etcd member asked directly; None is not measured (lately). ``used`` is whether this apiserver asks it.

    ``back`` is whether it failed not long ago: an apiserver waits longer and longer before it dials such a one again.
    ``apart`` is whether another member answered while it failed: else all of them may have failed, and it is only not
    asked again yet.
    """

    linearizable: Measured | None
    serializable: Measured | None
    defragments: bool = False
    used: bool = True
    back: bool = False
    apart: bool = True

    @property
    def answers(self) -> frozenset[Answer]:
        return frozenset(each.answer for each in (self.linearizable, self.serializable) if each is not None)

    @property
    def measured(self) -> bool:
        return self.linearizable is not None and self.serializable is not None

    @property
    def bad(self) -> bool:
        """Whether it fails a linearizable read, and not only for a moment in which its disk is late.

        One that answers as long as no other has to agree is in doubt.
        """
        alone = self.serializable is not None and self.serializable.answer in ANSWERED
        least = FAILURES_IN_DOUBT if alone else FAILURES
        return self.lost and self.apart and self.linearizable is not None and self.linearizable.failures >= least

    @property
    def lost(self) -> bool:
        """Whether it fails a linearizable read, as it does too where others are missing."""
        return self.linearizable is not None and self.linearizable.is_(*DEAD)

    @property
    def slow(self) -> bool:
        """Whether it goes on answering late; an apiserver's requests need not suffer from a moment of it."""
        asked = (self.linearizable, self.serializable)
        return any(each is not None and each.is_(Answer.SLOW) and each.failures >= FAILURES_IN_DOUBT for each in asked)

    @property
    def late(self) -> bool:
        """Whether it was late or failed in the last seconds."""
        return any(each is not None and was_late(each) for each in (self.linearizable, self.serializable))

    @property
    def wavers(self) -> bool:
        """Whether it is neither well nor known to be bad; late once is not enough for that."""
        asked = (self.linearizable, self.serializable)
        return any(
            each is None or not (each.well or (each.answer is Answer.SLOW and each.failures < FAILURES))
            for each in asked
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one apiserver; None, or a name that is missing, is not measured (lately).

    ``reads`` are quorum reads through this apiserver by resource, Leases among them, into which ``canary`` writes.
    ``members`` is empty where etcd cannot be asked directly; ``unasked`` is how many more voters etcd has of which this
    apiserver may use any. ``others_write`` is whether a write through another apiserver works now, or a read where
    nothing is written; False where there is no other. ``starting`` is whether it began to answer only just now, or has
    just refused or ended connections. ``writes`` is whether we write at all: without, canary and delivery are left out.
    ``in_between`` is whether all else was answered, and not late, between two failures in a row of one of the probes
    that fail, and during the later one: a ping, a linearizable read of each member that it uses, and, where a read
    fails, the same read from the watch cache. ``stalled`` is whether it was said to be stalled since one of these rows
    of failures began: what is late since then takes nothing back.
    """

    ping: Measured | None
    readiness: Measured | None
    canary: Measured | None
    delivery: Measured | None
    reads: Mapping[str, Measured | None]
    members: Mapping[str, Member]
    others_write: bool | None = None
    starting: bool = False
    writes: bool = True
    in_between: bool = False
    unasked: int = 0
    stalled: bool = False

    @property
    def used(self) -> Mapping[str, Member]:
        """The members that this apiserver asks."""
        return {name: each for name, each in self.members.items() if each.used}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, why, and, of a stalled channel, for which resources."""

    verdict: Verdict
    reasons: tuple[str, ...]
    resources: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


def judge(evidence: Evidence) -> Judgement:
    """The verdict on one apiserver; the first of the truth table's rows that holds."""
    if front := _front(evidence):
        return front
    judgement = _storage(evidence) or _rest(evidence)
    if evidence.starting and judgement.verdict is not Verdict.OK:
        return _unknown(*judgement.reasons, "but it began to answer only a few seconds ago: it may be starting")
    return judgement


def _front(evidence: Evidence) -> Judgement | None:
    """What can be said from the outside alone."""
    ping = evidence.ping
    if ping is None:
        return _unknown("whether it answers at all is not measured")
    times = "once" if ping.failures == 1 else "again and again"  # no number: words that change are logged anew
    said = f": {ping.said}" if ping.said else ""
    if ping.is_(Answer.REFUSED):
        return Judgement(Verdict.DOWN, (f"nobody listens at its address ({times})",))
    if ping.is_(Answer.TIMEOUT):
        words = f"a ping has no answer ({times}){said}"
        if evidence.starting:
            return _unknown(words, "but it refused or ended connections a few seconds ago: it may be starting")
        return Judgement(Verdict.UNREACHABLE, (words,))
    if ping.is_(Answer.REJECTED):
        return Judgement(Verdict.OVERLOADED, ("it turns even a ping away with 429",))
    words = f"ping: {ping.answer} ({times}), which tells neither for nor against it{said}"
    return None if ping.answer in ANSWERED else _unknown(words)


def _storage(evidence: Evidence) -> Judgement | None:
    """What fails on the way to etcd and why, None when nothing is seen to fail twice."""
    resources = tuple(sorted(_failing(evidence)))
    if not resources:
        return _share(evidence)
    seen = f"ping is answered, etcd is not reached for {', '.join(resources)}"
    if evidence.ping is not None and evidence.ping.is_(Answer.SLOW):
        return _unknown(seen, "yet it answers even the ping late: it may be too busy for any of it")
    if missing := sorted(_missing(evidence)):
        return _unknown(seen, f"not measured: {', '.join(missing)}", *_without_etcd(evidence))
    return (
        _etcd(evidence, seen)
        or _told_by_etcd(evidence, seen)
        or _rejected(evidence, seen)
        or _elsewhere(evidence, seen)
        or _stalled(evidence, seen, resources)
    )


def _storage_probes(evidence: Evidence) -> Iterable[tuple[str, Measured | None]]:
    """What goes through this apiserver to etcd and does nothing else, by the resource whose channel it takes."""
    yield from (*evidence.reads.items(), (HEALTH, evidence.readiness))


def _failing(evidence: Evidence) -> Mapping[str, Measured]:
    """Those that fail twice."""
    return {name: probe for name, probe in _storage_probes(evidence) if probe is not None and probe.is_(*STUCK)}


def _asked_of_etcd(evidence: Evidence) -> Iterable[tuple[str, Measured | None]]:
    """Everything that goes through this apiserver to etcd."""
    yield from _storage_probes(evidence)
    if evidence.writes:
        yield WRITES, evidence.canary


def _share(evidence: Evidence) -> Judgement | None:
    """A member that fails takes only its share of the requests with it: they need not fail twice in a row."""
    touched = _touched(evidence)
    if touched and (missing := sorted(_missing(evidence))):  # what is not measured may be the one that fails
        rest = _rest(evidence)
        unnamed = rest.verdict in {Verdict.OK, Verdict.UNKNOWN}
        words = f"some requests fail too ({', '.join(touched)}), and not measured: {', '.join(missing)}"
        return None if unnamed else _unknown(*rest.reasons, words)
    bad = [name for name in _bad(evidence) if evidence.members[name].used]
    if not touched or not bad or not _some_answer(evidence):
        return None
    words = f"some requests fail ({', '.join(touched)}), and asked directly {', '.join(bad)} fails"
    return Judgement(Verdict.ETCD_MEMBER_BAD, (words,), members=tuple(bad))


def _touched(evidence: Evidence) -> Sequence[str]:
    """What failed lately of what goes through this apiserver to etcd."""
    return sorted(name for name, probe in _asked_of_etcd(evidence) if probe is not None and probe.lately)


def _missing(evidence: Evidence) -> Iterable[str]:
    yield from (name for name, probe in _asked_of_etcd(evidence) if probe is None)
    if not evidence.members:
        yield "etcd itself, so that it cannot be told from the way to it"
    yield from (f"etcd member {name}" for name, member in evidence.members.items() if not member.measured)
    if evidence.unasked:
        yield f"etcd members that nobody asks: {evidence.unasked}"


def _without_etcd(evidence: Evidence) -> Iterable[str]:
    """What can be known where etcd cannot be asked."""
    if not evidence.members and evidence.others_write:
        yield "requests through another apiserver reach etcd: so it is this one's channel, or the member that it asks"


def _all_measured(evidence: Evidence) -> bool:
    return all(member.measured for member in evidence.members.values())


def _bad(evidence: Evidence) -> tuple[str, ...]:
    """The members that fail themselves."""
    return tuple(sorted(name for name, each in evidence.members.items() if each.bad))


def _some_answer(evidence: Evidence) -> bool:
    """Whether there is a quorum: where one member answers a linearizable read, most of them work."""
    alive = {Answer.OK, Answer.SLOW}
    return any(
        each.linearizable is not None and each.linearizable.answer in alive for each in evidence.members.values()
    )


def _etcd(evidence: Evidence, seen: str) -> Judgement | None:
    """What etcd itself says, asked directly; None when it is well."""
    members = evidence.members
    if blind := sorted(name for name, each in members.items() if Answer.DENIED in each.answers):
        return _unknown(seen, f"etcd members that do not let us look: {'; '.join(map(_denial(members), blind))}")
    # A member that is being defragmented says so itself: that is no loss of a quorum, also where it is the only one.
    if all(each.lost for each in members.values()) and not all(each.defragments for each in members.values()):
        return _quorum(evidence, seen)
    return _used(evidence, seen)


def _used(evidence: Evidence, seen: str) -> Judgement | None:
    """What the members say that this apiserver uses; None when they are well."""
    used = evidence.used
    if culprits := tuple(sorted(name for name in used if name in _bad(evidence) or used[name].defragments)):
        if not _some_answer(evidence) and not all(used[name].defragments for name in culprits):
            return _unknown(
                seen, f"{', '.join(culprits)} fails, and no other member is seen to answer: is it all of them?"
            )
        words = f"asked directly, {'; '.join(_fault(name, used[name]) for name in culprits)}"
        return Judgement(Verdict.ETCD_MEMBER_BAD, (seen, words), members=culprits)
    if slow := tuple(sorted(name for name, each in used.items() if each.slow)):
        if evidence.readiness is not None and evidence.readiness.is_(*STUCK):
            # Its own check takes 2 s before it fails: who answers us sooner is not so slow.
            return _unknown(seen, f"asked directly, {', '.join(slow)} is slow, which does not explain all of it")
        return Judgement(Verdict.ETCD_SLOW, (seen, f"asked directly, {', '.join(slow)} is slow"), members=slow)
    if wavering := sorted(name for name, each in used.items() if each.wavers):
        return _unknown(seen, f"etcd members with a failure that is not confirmed: {', '.join(wavering)}")
    return None


def _fault(name: str, member: Member) -> str:
    return f"{name} is being defragmented" if member.defragments else f"{name} fails"


def _denial(members: Mapping[str, Member]) -> Callable[[str], str]:
    def words(name: str) -> str:
        asked = (members[name].linearizable, members[name].serializable)
        said = next((each.said for each in asked if each and each.answer is Answer.DENIED and each.said), "")
        return f"{name} ({said})" if said else name

    return words


def _quorum(evidence: Evidence, seen: str) -> Judgement:
    bad = tuple(sorted(evidence.members))
    failed = f"no member answers a linearizable read: {', '.join(bad)}"
    if evidence.others_write is None:
        return _unknown(seen, failed, "not measured: whether another apiserver reaches etcd")
    if evidence.others_write:
        return _unknown(seen, failed, "yet another apiserver reaches etcd: our own way there may be at fault")
    return Judgement(Verdict.ETCD_DOWN, (seen, failed), members=bad)


def _rejected(evidence: Evidence, seen: str) -> Judgement | None:
    """Requests that wait in flow control's queues look like those that hang in a channel."""
    probes = (evidence.canary, *evidence.reads.values())
    if not any(each is not None and each.answer is Answer.REJECTED for each in probes):
        return None
    readiness = evidence.readiness
    if readiness is not None and readiness.is_(*STUCK):
        return None  # its own check of etcd fails too: flow control is full because of the stall
    if readiness is not None and readiness.well:
        return Judgement(
            Verdict.OVERLOADED, (seen, "it turns requests away with 429, and its own check of etcd passes")
        )
    return _unknown(seen, "it turns requests away with 429, and its own check of etcd tells nothing yet")


def _elsewhere(evidence: Evidence, seen: str) -> Judgement | None:
    """What looks like a stalled channel, and has another cause or ends by itself."""
    used = evidence.used
    if not used:
        return _unknown(seen, "none of the members that it uses is known")
    if all(each.back for each in used.values()):  # one that is not is asked meanwhile
        return _unknown(
            seen, f"{', '.join(sorted(used))} is only just back, and an apiserver takes its time to dial again"
        )
    if not evidence.in_between:
        return _unknown(
            seen,
            "what needs no etcd (a ping, the same read from the watch cache), or etcd, is not seen to answer well "
            "meanwhile: it may be held up before its storage, or all of it may have stood still for a moment",
        )
    return _late(evidence, seen)


def _told_by_etcd(evidence: Evidence, seen: str) -> Judgement | None:
    """What etcd itself answers came through the channel."""
    said = sorted({each.said for each in _failing(evidence).values() if ETCD_SAYS in each.said})
    return _unknown(seen, f"its channel carries requests, and etcd answers: {'; '.join(said)}") if said else None


def _late_members(evidence: Evidence) -> list[str]:
    """Those that it uses and that were late, or failed, in the last seconds."""
    return sorted(name for name, each in evidence.used.items() if each.late)


def _late(evidence: Evidence, seen: str) -> Judgement | None:
    """Who is well now and was not just before explains two failures, and no more."""
    late = _late_members(evidence)
    if evidence.ping is not None and was_late(evidence.ping):
        late.append("its ping")
    if (
        not late
        or evidence.stalled
        or any(probe.failures >= FAILURES_IN_DOUBT for probe in _failing(evidence).values())
    ):
        return None
    return _unknown(seen, f"late, or failed, a few seconds ago: {', '.join(late)}")


def _stalled(evidence: Evidence, seen: str, resources: tuple[str, ...]) -> Judgement:
    members = ", ".join(sorted(evidence.used))
    others = ("no other apiserver is seen to reach etcd",) if evidence.others_write is False else ()
    return Judgement(Verdict.CHANNEL_STALLED, (seen, f"asked directly, etcd answers on {members}", *others), resources)


def _rest(evidence: Evidence) -> Judgement:
    """The way to etcd is not seen to fail."""
    if unmeasured := sorted(name for name, each in _asked_of_etcd(evidence) if each is None):
        return _unknown(f"not measured: {', '.join(unmeasured)}")
    probes = [each for name, each in _asked_of_etcd(evidence) if name != HEALTH]
    if any(each is not None and each.is_(Answer.REJECTED) for each in probes):
        return Judgement(Verdict.OVERLOADED, ("it turns requests away with 429 again and again",))
    denied = [each for each in probes if each is not None and each.answer is Answer.DENIED]
    if len(denied) == len(probes):
        return _unknown(
            f"it denies us every read and write: its way to etcd cannot be seen{_said(next(iter(denied), None))}"
        )
    return _members(evidence) or _written(evidence)


def _members(evidence: Evidence) -> Judgement | None:
    slow = tuple(sorted(name for name, each in evidence.used.items() if each.slow))
    return Judgement(Verdict.ETCD_SLOW, (f"asked directly, {', '.join(slow)} is slow",), members=slow) if slow else None


def _written(evidence: Evidence) -> Judgement:
    """Reads are answered; whether it writes, and whether the news of it arrives."""
    canary, delivery = evidence.canary, evidence.delivery
    if not evidence.writes:
        return Judgement(Verdict.OK, ("left out: whether it writes, and whether news arrives",))
    if canary is not None and canary.is_(*STUCK):
        # How long was waited is a little different each time, and words that change are logged anew.
        failed = "hang" if canary.answer is Answer.TIMEOUT else f"fail{_said(canary)}"
        return _unknown(
            f"writes of a Lease {failed}",
            "reads of Leases through the same channel are answered: what holds writes up or refuses them may be an "
            "admission webhook, or an etcd that takes none",
        )
    if delivery is None:
        is_denied = canary is not None and canary.answer is Answer.DENIED
        why = f", since it denies us the write{_said(canary)}" if is_denied else ""
        return _unknown(f"not measured: delivery of news to its watches{why}")
    return _watches(evidence, delivery)


def _watches(evidence: Evidence, delivery: Measured) -> Judgement:
    """Its requests are answered; whether its watches get the news."""
    if delivery.is_(Answer.TIMEOUT):
        return _undelivered(evidence, delivery)
    shaky = sorted(name for name, each in _through(evidence) if each is not None and not each.well)
    return Judgement(Verdict.OK, (f"failed once, or tell nothing: {', '.join(shaky)}",) if shaky else ())


def _undelivered(evidence: Evidence, delivery: Measured) -> Judgement:
    seen = "news that was written reaches its watches no more"
    if doubt := _unwritten(evidence):
        return _unknown(seen, doubt)
    # A watch stays with one member, and requests go to the others as well.
    if others := _used(evidence, seen):
        return others
    if doubt := _undialled(evidence, delivery):
        return _unknown(seen, doubt)
    return Judgement(Verdict.WATCH_STALE, (seen, "it writes and reads"))


def _unwritten(evidence: Evidence) -> str:
    """Why it is not known that there is news."""
    if evidence.canary is None or not evidence.canary.well:
        return "and its own writes are not seen to work"
    return "" if _all_measured(evidence) and not evidence.unasked else "and not every etcd member is measured"


def _undialled(evidence: Evidence, delivery: Measured) -> str:
    """Why its watches may be on the way to another member, or soon get the news."""
    if back := sorted(name for name, each in evidence.used.items() if each.back):
        return f"{', '.join(back)} is only just back: its watches may be on the way to another member"
    late = _late_members(evidence)
    if late and delivery.failures < FAILURES_IN_DOUBT:
        return f"late, or failed, a few seconds ago: {', '.join(late)}"
    return ""


def _through(evidence: Evidence) -> Iterable[tuple[str, Measured | None]]:
    """Every probe through this apiserver but the ping."""
    yield from (*_asked_of_etcd(evidence), ("delivery", evidence.delivery))


def _said(probe: Measured | None) -> str:
    """What it said of itself, to be put after other words."""
    return f": {probe.said}" if probe is not None and probe.said else ""


def _unknown(*reasons: str) -> Judgement:
    return Judgement(Verdict.UNKNOWN, reasons)
