"""What one transaction remembers, so that it need not ask the database twice."""

from typing import Any, Final

from sqlalchemy import Connection, Engine, event

_KEY: Final = "ballast"


def watch(engine: Engine) -> None:
    """Makes every transaction of ``engine`` begin with an empty memory, and a savepoint that failed with it."""

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
