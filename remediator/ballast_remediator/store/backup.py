"""Takes a backup while others write, and restores one so that nothing which was done is done again.

A backup is one state of the store, whatever it lies in, and fits the other kind as well. What only lives while
processes do (replicas, duties, turns, heartbeats) is not part of it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator import archive
from ballast_remediator.archive import Header
from ballast_remediator.contract import EXECUTING, RunState, StopKind
from ballast_remediator.store import audit, clock, schema, stops, verifying
from ballast_remediator.store.database import Store
from ballast_remediator.store.migrations import newest
from ballast_remediator.store.places import Place, PostgresqlServer
from ballast_remediator.store.postgresql import Postgresql
from ballast_remediator.store.runs import transition
from ballast_remediator.store.writer import StoreUnavailable, Undecided, words_of

TABLES: Final = (
    schema.checkpoints,
    schema.audit,
    schema.notifications,
    schema.runs,
    schema.run_alerts,
    schema.steps,
    schema.locks,
    schema.stops,
    schema.approvals,
    schema.preapprovals,
    schema.shadows,
    schema.notices,
)
"""In an order in which each refers to earlier ones alone."""
RESTORE: Final = "restore"
"""Who did it, in the audit."""
_AT_ONCE: Final = 500
_SCHEMA: Final = text("SELECT version_num FROM alembic_version")


class NotRestored(Exception):
    """The backup cannot be restored into this store, and nothing was changed; the text says why."""


def save(place: Place, path: Path, *, each: Callable[[], None]) -> Header:
    """Writes one state of the store to ``path``; others may write meanwhile. ``each`` is called for each row.

    Raises:
        StoreUnavailable: it cannot be read, or has another schema than this program.
        OSError: ``path`` cannot be written.
    """
    try:
        with _snapshot(place) as connection:
            found = connection.execute(_SCHEMA).scalar_one()
            if found != newest():
                raise StoreUnavailable(
                    f"{place} has schema {found}, and this program knows {newest()}: take the backup with the version "
                    "that runs"
                )
            header = Header(found, clock.now(connection), verifying.head(connection))
            with archive.written(path, header) as sink:
                for table in TABLES:
                    sink.table(table.name, table.columns.keys())
                    for row in _rows(connection, table):
                        sink.row(row)
                        each()
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{place} cannot be read: {words_of(error)}") from error
    return header


@contextmanager
def _snapshot(place: Place) -> Iterator[Connection]:
    """One state of the store, to read only; an SQLite file's lock stays with its owner."""
    if isinstance(place, PostgresqlServer):
        backend = Postgresql(place)
        try:
            with backend.reading.connect().execution_options(postgresql_readonly=True) as connection:
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield connection
        finally:
            backend.close()
        return
    if not place.path.exists():
        raise StoreUnavailable(f"{place} is not there")
    engine = create_engine(
        f"sqlite:///file:{place.path.absolute()}?mode=ro&uri=true",
        connect_args={"isolation_level": None},
        execution_options={clock.OPTION: lambda _: place.clock()},
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _rows(connection: Connection, table: Table) -> Iterator[Sequence[Any]]:
    columns = [cast(column, Text) if _is_json(column) else column for column in table.columns]
    parsed = [_is_json(column) for column in table.columns]
    rows = connection.execution_options(yield_per=_AT_ONCE).execute(
        select(*columns).order_by(*table.primary_key.columns)
    )
    for row in rows:
        yield [
            _parsed(value) if as_json and value is not None else value
            for value, as_json in zip(row, parsed, strict=True)
        ]


def _parsed(value: str) -> Any:  # noqa: ANN401 - what somebody made of it who edited the store: the audit tells
    try:
        return json.loads(value)
    except ValueError:
        return value


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def restore(place: Place, path: Path, *, each: Callable[[], None]) -> Header:
    """Fills an empty store from a backup, all or nothing. ``each`` is called for each row.

    What was under way is quarantined with its locks, what had not begun expires, and a kill switch keeps everything
    from beginning until a person has looked: what was done after the backup is not on record.

    Raises:
        archive.Unusable: the file is damaged, or no backup.
        NotRestored: it has another schema, or the store is not empty.
        StoreInUse: a remediator has it open.
        StoreUnavailable: the store cannot be opened or written.
    """
    header = archive.check(path)
    if header.schema != newest():
        raise NotRestored(
            f"{path} is of schema {header.schema}, and this program knows {newest()}: restore it with the version that "
            "made it; a newer one migrates the store when it starts"
        )
    with Store(place) as store:
        try:
            _patiently(store, lambda connection: _fill(connection, path, header, each))
        except SQLAlchemyError as error:
            raise NotRestored(f"{place} does not take what {path} holds: {words_of(error)}") from error
    return header


def _patiently(store: Store, operation: Callable[[Connection], None]) -> None:
    """A write that may take long, and that nobody else waits for."""
    try:
        store.write(operation)
    except Undecided as undecided:
        outcome = undecided.outcome
        while True:
            try:
                outcome()
            except Undecided as still:
                outcome = still.outcome
            else:
                return


def _fill(connection: Connection, path: Path, header: Header, each: Callable[[], None]) -> None:
    _expect_empty(connection)
    tables = {table.name: table for table in TABLES}
    for name, rows in groupby(archive.rows(path), key=itemgetter(0)):
        values = (row for _, row in rows)
        while part := list(islice(values, _AT_ONCE)):
            connection.execute(_into(tables[name]), part)
            for _ in part:
                each()
    if connection.dialect.name == "postgresql":
        for table in (schema.notifications, schema.audit):
            _count_on(connection, table)
    _settle(connection, header)


def _expect_empty(connection: Connection) -> None:
    there = connection.execute(select(schema.replicas.c.words).limit(1)).scalar()
    if there is not None:
        raise NotRestored(f"a remediator has joined this store ({there}): stop it first")
    for table in TABLES:
        if connection.execute(select(func.count()).select_from(select(table).limit(1).subquery())).scalar_one():
            raise NotRestored(f"the store is not empty: it has {table.name}. Restore into a new one")


def _into(table: Table) -> Any:  # noqa: ANN401 - SQLAlchemy's insert
    """A column that may be empty is, and does not hold JSON's null."""
    return insert(table).values(
        {
            column.name: bindparam(column.name, type_=JSON(none_as_null=bool(column.nullable)))
            for column in table.columns
            if _is_json(column)
        }
    )


def _count_on(connection: Connection, table: Table) -> None:
    """The next number that PostgreSQL gives is one more than the highest that was restored."""
    (key,) = table.primary_key.columns
    connection.execute(
        text("SELECT setval(pg_get_serial_sequence(:table, :key), :highest)"),
        {
            "table": table.name,
            "key": key.name,
            "highest": connection.execute(select(func.coalesce(func.max(key), 1))).scalar_one(),
        },
    )


def _settle(connection: Connection, header: Header) -> None:
    made = _time(header.made_at)
    audit.append(
        connection,
        event="restored",
        actor=RESTORE,
        words=f"restored from a backup of {made}: what happened between then and now is not on record",
        data={"made_at": header.made_at, "seq": header.head.seq, "hash": header.head.hash},
    )
    _end_runs(connection, made)
    connection.execute(
        update(schema.notices)
        .where(schema.notices.c.due_at.is_not(None))
        .values(due_at=None, problem="not sent: it came out of a backup, and may have been sent before")
    )
    stops.put(
        connection,
        StopKind.KILL_SWITCH,
        person=RESTORE,
        reason=(
            f"the store was restored from a backup of {made}. What was begun between then and "
            f"{_time(clock.now(connection))} is not on record: look at the clusters, then lift it"
        ),
    )


def _end_runs(connection: Connection, made: str) -> None:
    connection.execute(update(schema.runs).values(owner=None))
    runs = schema.runs.c
    open_runs = connection.execute(
        select(runs.id, runs.state, runs.target, runs.cluster, runs.token).where(runs.finished_at.is_(None))
    ).all()
    for run in open_runs:
        state = RunState(run.state)
        if state in EXECUTING:
            words = (
                f"it was under way in the backup of {made}, and how far it came is not on record. Look at {run.target} "
                f"in {run.cluster}, then: ballastctl resolve {run.id}"
            )
            token = run.token + 1
            transition(connection, run.id, RunState.OUTCOME_UNKNOWN, words=words, actor=RESTORE, token=token)
        else:
            words = (
                f"it was {state} in the backup of {made}, and whether it began since is not on record; an alert that "
                "still fires opens a new run"
            )
            transition(connection, run.id, RunState.EXPIRED, words=words, actor=RESTORE)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
