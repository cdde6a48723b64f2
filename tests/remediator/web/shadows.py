"""A store with shadowed runs of which something came; the tests of the web and of ballastctl stand on it."""

from collections.abc import Sequence

from sqlalchemy import Connection, update

from ballast_remediator.contract import Alert, Answer, Mode, Plan, RunState, StepSpec, Target, Verdict
from ballast_remediator.store import inbox, reading, runs, shadow
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import shadows
from ballast_remediator.store.shadow import Later
from tests.remediator.standing import NO_BRAKE

PLAN = Plan(
    summary="free 1.5 GiB on 3 members",
    because=(),
    steps=(StepSpec("snapshot", "m1", "snapshot m1"), StepSpec("defragment", "m2", "defragment m2")),
    limits={"members_at_once": 1},
    answers=(Answer("quorum_survives", Verdict.ALLOW, "3 of 3 voters are healthy"),),
)


def shadowed(store: Store, *, cluster: str = "production", target: str = "main", fingerprint: str = "9e5f") -> str:
    """A run that the policy let do nothing; its id."""
    alert = Alert(fingerprint, {"alertname": "EtcdFreeSpaceNeeded"}, {}, firing=True, starts_at=1e9)
    found = inbox.Finding(alert, Target(cluster, "etcd-free-space", target))
    store.write(inbox.file, (), (found,), brake=NO_BRAKE, reopen_after=0.0)
    run = next(one for one in store.read(reading.recent_runs, limit=1000) if not one.final)
    store.write(runs.transition, run.id, RunState.PLANNING, words="looking")
    store.write(
        runs.keep_plan,
        run.id,
        RunState.SHADOWED,
        plan=PLAN,
        plan_hash="ab" * 32,
        mode=Mode.SHADOW,
        policy_digest="cd" * 32,
        words="shadow: this is what would have been done",
    )
    return run.id


def resolve(store: Store, *, cluster: str = "production", target: str = "main", fingerprint: str = "9e5f") -> None:
    """Its alert resolves."""
    store.write(shadow.resolved, Target(cluster, "etcd-free-space", target), fingerprint)


def look(store: Store, run_id: str, *found: Later, guard: str | None = None, last: bool = True) -> None:
    """Later looks found that; with ``last`` there are no more."""
    for one in found:
        words = f"{guard}: it is so" if one is Later.REFUSED else one.replace("_", " ")
        store.write(shadow.record, run_id, one, words=words, guard=guard if one is Later.REFUSED else None)

    def no_more(connection: Connection) -> None:
        connection.execute(update(shadows).where(shadows.c.run_id == run_id).values(next_look_at=None))

    if last:
        store.write(no_more)


def every_score(store: Store) -> Sequence[str]:
    """Runs of every score, of six targets in one cluster and one in another; their ids, the oldest first."""
    ids = [shadowed(store, target=f"etcd-{number}", fingerprint=str(number)) for number in range(6)]
    resolve(store, target="etcd-0", fingerprint="0")
    store.write(shadow.mark, ids[1], shadow.Mark.PEOPLE, person="anna", reason="compacted by hand")
    look(store, ids[2], Later.SAME_PLAN, Later.SAME_PLAN)
    look(store, ids[3], Later.SAME_PLAN, Later.REFUSED, guard="quorum_survives")
    look(store, ids[4], Later.UNSEEN)
    look(store, ids[5], Later.SAME_PLAN, last=False)
    elsewhere = shadowed(store, cluster="staging")
    resolve(store, cluster="staging")
    return [*ids, elsewhere]
