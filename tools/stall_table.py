"""The truth table of the verdict on an apiserver, printed by the verdict's own code: `python -m tools.stall_table`.

It stands in docs/grpc-stall.md between two marks; a test compares the two.
"""

from dataclasses import replace

from kube_ballast.analysis.stall import Answer, Evidence, Measured, Member, judge

OK = Measured(Answer.OK)
HANGS = Measured(Answer.TIMEOUT, 2, 2)
FAILS = Measured(Answer.ERROR, 2, 2)
ONCE = Measured(Answer.TIMEOUT, 1, 1)
SHARE = Measured(Answer.OK, 0, 1)
SLOW = Measured(Answer.SLOW, 4, 4)
LATE = Measured(Answer.SLOW, 2, 2)
REFUSES = Measured(Answer.ERROR, 2, 2, said="500: etcdserver: permission denied")
REJECTED = Measured(Answer.REJECTED, 2)
REFUSED = Measured(Answer.REFUSED, 2)
DENIED = Measured(Answer.DENIED, 2, said="403 Forbidden")
WELL = Member(OK, OK)
DEAD = Member(HANGS, HANGS)
BACK = Member(OK, OK, back=True)
WAS_LATE = Member(Measured(Answer.OK, 0, 1), OK)
DEFRAGMENTS = Member(OK, OK, defragments=True)
ALONE = Member(HANGS, HANGS, defragments=True)
MEMBERS = {"a": WELL, "b": WELL, "c": WELL}
READS = {"pods": OK, "configmaps": OK, "leases": OK}
HEALTHY = Evidence(OK, OK, OK, OK, READS, MEMBERS, others_write=True, in_between=True)
MUTE = replace(HEALTHY, readiness=FAILS, canary=HANGS, delivery=HANGS, reads=dict.fromkeys(HEALTHY.reads, HANGS))
ALL_FAIL, ALL_DENIED = dict.fromkeys(HEALTHY.reads, FAILS), dict.fromkeys(HEALTHY.reads, DENIED)
ONE = {**HEALTHY.reads, "configmaps": HANGS}
NO_QUORUM = {name: Member(HANGS, OK) for name in MEMBERS}

ROWS: tuple[tuple[str, Evidence], ...] = (
    ("everything is answered", HEALTHY),
    ("one probe failed once", replace(HEALTHY, canary=ONCE)),
    ("nobody listens", replace(HEALTHY, ping=REFUSED)),
    ("a ping hangs", replace(HEALTHY, ping=HANGS)),
    ("a ping is turned away with 429", replace(HEALTHY, ping=REJECTED)),
    ("our credentials are not accepted", replace(HEALTHY, ping=DENIED)),
    ("the same, and it refused or ended connections a moment ago", replace(HEALTHY, ping=HANGS, starting=True)),
    ("a connection is taken, TLS hangs", replace(HEALTHY, ping=replace(HANGS, said="connect to: TLS handshake hangs"))),
    ("it began to answer just now, reads and writes hang", replace(MUTE, starting=True)),
    ("reads and writes hang, every member answers", MUTE),
    ("the same, and not all else is seen to answer meanwhile", replace(MUTE, in_between=False)),
    ("reads and writes hang, its own check passes", replace(MUTE, readiness=OK)),
    ("reads and writes hang, and it answers pings late", replace(MUTE, ping=LATE)),
    ("the same, but only one was late, just before", replace(MUTE, ping=Measured(Answer.OK, 0, 1))),
    ("reads and writes hang, a member it uses was late just before", replace(MUTE, members={"a": WAS_LATE})),
    (
        "the same for longer",
        replace(MUTE, reads={"pods": Measured(Answer.TIMEOUT, 4, 4)}, members={"a": WAS_LATE}),
    ),
    ("it answers a ping late, and nothing fails", replace(HEALTHY, ping=SLOW)),
    ("one resource hangs, every member answers", replace(HEALTHY, reads=ONE)),
    ("only its own check of etcd fails", replace(HEALTHY, readiness=FAILS)),
    ("everything is answered with 500, every member answers", replace(MUTE, canary=FAILS, reads=ALL_FAIL)),
    ("reads are answered with an error of etcd's own", replace(HEALTHY, reads={**READS, "pods": REFUSES})),
    ("reads and writes hang, etcd cannot be asked", replace(MUTE, members={})),
    ("etcd cannot be asked, and nothing reaches it", replace(MUTE, members={}, others_write=False)),
    ("etcd cannot be asked, nothing fails", replace(HEALTHY, members={})),
    ("reads and writes hang, and through the others", replace(MUTE, others_write=False)),
    ("reads and writes hang, one member is not measured", replace(MUTE, members={**MEMBERS, "c": Member(None, None)})),
    ("reads and writes hang, and etcd has a member that nobody asks", replace(MUTE, unasked=1)),
    (
        "reads and writes hang, a member that it does not use fails",
        replace(MUTE, members={"a": WELL, "c": replace(DEAD, used=False)}),
    ),
    ("reads and writes hang, one member denies us", replace(MUTE, members={**MEMBERS, "c": Member(DENIED, DENIED)})),
    ("reads and writes hang, one resource is not measured", replace(MUTE, reads={**MUTE.reads, "configmaps": None})),
    ("reads and writes hang, a member it uses fails", replace(MUTE, members={**MEMBERS, "c": DEAD})),
    (
        "reads and writes hang, a member it uses answers only alone",
        replace(MUTE, members={**MEMBERS, "c": Member(HANGS, OK)}),
    ),
    (
        "the same for longer",
        replace(MUTE, members={**MEMBERS, "c": Member(replace(HANGS, failures=4, lately=4), OK)}),
    ),
    ("some requests fail, a member it uses fails", replace(HEALTHY, canary=SHARE, members={**MEMBERS, "c": DEAD})),
    (
        "the same, and no other answered while it failed",
        replace(HEALTHY, canary=SHARE, members={**MEMBERS, "c": replace(DEAD, apart=False)}),
    ),
    (
        "some requests fail, some get 429, a member is not measured",
        replace(HEALTHY, canary=REJECTED, reads={**READS, "pods": SHARE}, members={**MEMBERS, "c": Member(None, None)}),
    ),
    ("nothing fails through it, a member it uses fails", replace(HEALTHY, members={**MEMBERS, "c": DEAD})),
    ("reads and writes hang, a member it uses defragments", replace(MUTE, members={**MEMBERS, "c": DEFRAGMENTS})),
    ("reads and writes hang, the only member defragments", replace(MUTE, members={"a": ALONE})),
    ("reads and writes hang, a member it uses is slow", replace(MUTE, members={**MEMBERS, "c": Member(SLOW, OK)})),
    ("one hangs, a member it uses is slow", replace(HEALTHY, reads=ONE, members={**MEMBERS, "c": Member(SLOW, OK)})),
    ("one hangs, a member it uses was late twice", replace(HEALTHY, reads=ONE, members={"c": Member(LATE, OK)})),
    ("reads and writes hang, the member it uses is just back", replace(MUTE, members={"c": BACK})),
    ("reads and writes hang, one of those it uses is just back", replace(MUTE, members={**MEMBERS, "c": BACK})),
    ("a member it uses is slow, nothing fails", replace(HEALTHY, members={**MEMBERS, "c": Member(SLOW, OK)})),
    ("no member answers a linearizable read", replace(MUTE, members=NO_QUORUM, others_write=False)),
    ("no member answers us, another apiserver writes", replace(MUTE, members=NO_QUORUM, others_write=True)),
    ("some hang, some get 429, its own check passes", replace(HEALTHY, canary=REJECTED, reads={"pods": HANGS})),
    ("some hang, some get 429, its own check fails", replace(MUTE, canary=REJECTED)),
    ("writes get 429, nothing hangs", replace(HEALTHY, canary=REJECTED)),
    ("writes hang, reads of the same resource do not", replace(HEALTHY, canary=HANGS)),
    ("etcd refuses writes and answers reads", replace(HEALTHY, canary=replace(FAILS, said="database space exceeded"))),
    ("it reads and writes, news does not arrive", replace(HEALTHY, delivery=HANGS)),
    (
        "the same, and a member it uses fails",
        replace(HEALTHY, delivery=HANGS, members={**MEMBERS, "c": DEAD}),
    ),
    (
        "the same, and a member it uses is just back",
        replace(HEALTHY, delivery=HANGS, members={**MEMBERS, "c": BACK}),
    ),
    ("whether news arrives is not measured", replace(HEALTHY, delivery=None)),
    ("every read and write is forbidden to us", replace(HEALTHY, canary=DENIED, reads=ALL_DENIED)),
    ("only the write is forbidden to us", replace(HEALTHY, canary=DENIED, delivery=None)),
    ("we do not write, everything is answered", replace(HEALTHY, canary=None, delivery=None, writes=False)),
    ("we do not write, reads hang", replace(MUTE, canary=None, delivery=None, writes=False)),
)  # fmt: skip


def table() -> str:
    """The table in Markdown."""
    lines = ["| what is measured | verdict | what it says |", "|---|---|---|"]
    for words, evidence in ROWS:
        judgement = judge(evidence)
        lines.append(f"| {words} | `{judgement.verdict}` | {'; '.join(judgement.reasons)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
