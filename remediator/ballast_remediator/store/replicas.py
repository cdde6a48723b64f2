"""Who shares the store, and who works on what. No leader is elected: whatever nobody owns, anybody takes.

A replica shows that it lives by counting its `beat` up. Another one that has seen the same count for a whole lease
buries it (`engine.membership`): its row goes, its runs lose their owner, and their fencing tokens go up by one, all in
one transaction. Whatever a buried replica still writes about a run is refused (`runs.Fenced`).
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from ballast_remediator.store import clock
from ballast_remediator.store.audit import append
from ballast_remediator.store.runs import Fenced
from ballast_remediator.store.schema import duties, replicas, runs

_FENCED: Final = runs.c.token + 1
"""What a run's token becomes when its replica is gone: that one's writes show the old one."""
INTAKE: Final = "intake"
"""The duty to file what was accepted: in the order in which it came, so by one replica at a time."""


def join(connection: Connection, words: str, *, alone: bool) -> str:
    """A new replica's id; ``words`` say where it runs. ``alone``: whoever else is on record is gone for certain."""
    if alone:
        for replica_id in connection.execute(select(replicas.c.id)).scalars().all():
            _let_go(connection, replica_id, f"replica {replica_id} is gone: the store was free")
    replica_id = secrets.token_hex(4)
    connection.execute(insert(replicas).values(id=replica_id, beat=0, words=words, joined_at=clock.now(connection)))
    append(connection, event="replica_joined", actor=replica_id, words=words, data={"replica": replica_id})
    return replica_id


def beat(connection: Connection, replica_id: str) -> Mapping[str, int]:
    """Shows that the replica lives; returns everybody's count, its own included. Raises `Fenced` when it was buried."""
    mine = update(replicas).where(replicas.c.id == replica_id).values(beat=replicas.c.beat + 1)
    if not connection.execute(mine).rowcount:
        raise _buried(replica_id)
    return {row.id: row.beat for row in connection.execute(select(replicas.c.id, replicas.c.beat))}


def bury(connection: Connection, replica_id: str, *, last_beat: int, by: str) -> bool:
    """Whether the replica was still at ``last_beat``; then nothing is its own any more."""
    still = connection.execute(select(replicas.c.beat).where(replicas.c.id == replica_id)).scalar()
    if still != last_beat:
        return False
    _let_go(connection, replica_id, f"replica {replica_id} gave no sign of life for a lease: {by} buries it")
    return True


def leave(connection: Connection, replica_id: str) -> None:
    """In order, at the end: others go on at once with what it leaves."""
    _let_go(connection, replica_id, f"replica {replica_id} leaves")


def _let_go(connection: Connection, replica_id: str, words: str) -> None:
    found = connection.execute(delete(replicas).where(replicas.c.id == replica_id)).rowcount
    if not found:
        return
    connection.execute(delete(duties).where(duties.c.owner == replica_id))
    open_runs = (runs.c.owner == replica_id, runs.c.finished_at.is_(None))
    left = connection.execute(select(runs.c.id).where(*open_runs).order_by(runs.c.id)).scalars().all()
    values = {"owner": None, "token": _FENCED, "due_at": clock.now(connection)}
    connection.execute(update(runs).where(*open_runs).values(**values))
    append(connection, event="replica_gone", actor=replica_id, words=words, data={"replica": replica_id, "runs": left})


def take(connection: Connection, run_ids: Sequence[str], replica_id: str) -> frozenset[str]:
    """Those of these runs that nobody owned are the replica's now. Raises `Fenced` when it was buried."""
    _expect_on_record(connection, replica_id)
    free = (runs.c.id.in_(run_ids), runs.c.owner.is_(None), runs.c.finished_at.is_(None))
    taken = connection.execute(update(runs).where(*free).values(owner=replica_id).returning(runs.c.id))
    return frozenset(taken.scalars())


def _expect_on_record(connection: Connection, replica_id: str) -> None:
    if connection.execute(select(replicas.c.id).where(replicas.c.id == replica_id)).scalar() is None:
        raise _buried(replica_id)


def _buried(replica_id: str) -> Fenced:
    return Fenced(f"replica {replica_id} was taken for dead")


def on_duty(connection: Connection, duty: str) -> str | None:
    """The replica whose duty it is now."""
    return connection.execute(select(duties.c.owner).where(duties.c.name == duty)).scalar()


def take_duty(connection: Connection, duty: str, replica_id: str) -> bool:
    """Takes a duty that nobody has; whether it is the replica's. Raises `Fenced` when it was buried."""
    _expect_on_record(connection, replica_id)
    owner = on_duty(connection, duty)
    if owner is None:
        connection.execute(insert(duties).values(name=duty, owner=replica_id, taken_at=clock.now(connection)))
    return owner in {None, replica_id}


def count(connection: Connection) -> int:
    """Replicas that are on record."""
    return len(connection.execute(select(replicas.c.id)).all())
