"""What one transaction remembers: so that it need not ask the database twice, and writes at its end what can wait."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, Insert, event

_KEY: Final = "ballast"
_LATER: Final = "later"


def watch(engine: Engine) -> None:
    """Makes every transaction of ``engine`` begin with an empty memory, and a savepoint that failed with it.

    What is left for `later` waits for whoever ends the transaction to `settle` it, which the writer does.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.info[_KEY] = {}

    @event.listens_for(engine, "rollback_savepoint")
    def rollback(connection: Connection, _name: str, _context: None) -> None:
        connection.info[_KEY] = {}


def of(connection: Connection) -> dict[str, Any]:
    """What the transaction under way has put there. Empty, and kept by nobody, where nobody watches."""
    found: dict[str, Any] = connection.info.get(_KEY, {})
    return found


def later(connection: Connection, statement: Insert, row: Mapping[str, Any]) -> None:
    """Inserts ``row`` when the transaction is settled, together with all others of that ``statement``.

    Raises `KeyError` where nobody watches: it would be lost.
    """
    connection.info[_KEY].setdefault(_LATER, {}).setdefault(statement, []).append(row)


def settle(connection: Connection) -> None:
    """Inserts now what was left for later: at the transaction's end, and for whoever reads it before."""
    waiting: dict[Insert, list[Mapping[str, Any]]] = of(connection).pop(_LATER, {})
    for statement, rows in waiting.items():
        connection.execute(statement, rows)
