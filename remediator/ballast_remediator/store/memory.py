"""What one transaction remembers: so that it need not ask the database twice, and writes at its end what can wait."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Delete, Insert, Table, Update

T = TypeVar("T")

_KEY: Final = "ballast"
_LATER: Final = "later"


def begin(connection: Connection) -> None:
    """A transaction begins, or a part of it was rolled back: nothing is remembered, and nothing is left to be done.

    Whoever begins one says so, and no listener: SQLAlchemy takes a sixth longer for each statement where any listens.
    What is left for `later` waits for whoever ends the transaction to `settle` it, which the writer does.
    """
    connection.info[_KEY] = {}


def of(connection: Connection) -> dict[Any, Any]:
    """What the transaction under way has put there. Empty, and kept by nobody, where nobody said `begin`."""
    found: dict[Any, Any] = connection.info.get(_KEY, {})
    return found


@dataclass(frozen=True, slots=True)
class _Waiting:
    row: Mapping[str, Any]
    missed: Callable[[], Exception] | None


class _SomeMissed(Exception):
    """Of several changes that were made together, at least one changed nothing: each has to be made alone."""


def later(
    connection: Connection,
    statement: Insert | Update | Delete,
    row: Mapping[str, Any],
    *,
    missed: Callable[[], Exception] | None = None,
) -> None:
    """Executes ``statement`` when the transaction is settled, in one call with all others that left the same one.

    Statements follow each other as they were first left. With ``missed`` it has to change a row: where it changes none,
    `settle` raises what that gives, or, where several were made together, what makes them be made one at a time. Until
    then nobody in the transaction sees the change: leave what may as well have come after all that others do in it.

    Raises `KeyError` where nobody said `begin`: it would be lost.
    """
    connection.info[_KEY].setdefault(_LATER, {}).setdefault(statement, []).append(_Waiting(row, missed))


def settle(connection: Connection) -> None:
    """Does now what was left for later: at the transaction's end, and for whoever reads it before."""
    remembered = of(connection)
    left: dict[Insert | Update | Delete, list[_Waiting]] = remembered.pop(_LATER, {})
    for statement, waiting in left.items():
        changed = connection.execute(statement, [one.row for one in waiting]).rowcount
        _expect_all(waiting, changed)
        remembered.pop(statement.table, None)


def rows_of(connection: Connection, table: Table, ask: Callable[[], T]) -> T:
    """What ``ask`` tells of ``table``: asked once, and again after what was left for later has changed it."""
    remembered = of(connection)
    if table not in remembered:
        remembered[table] = ask()
    found: T = remembered[table]
    return found


def _expect_all(waiting: Sequence[_Waiting], changed: int) -> None:
    """Each of those that have to changes one row, as its statement says by its conditions."""
    expected = [one.missed for one in waiting if one.missed is not None]
    if expected and changed != len(expected):
        raise expected[0]() if len(waiting) == 1 else _SomeMissed
