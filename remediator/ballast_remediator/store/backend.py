"""What SQLite and PostgreSQL do differently. Everything else is one code path."""

from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError


class Mistaken(Exception):
    """A person has to put it right; the text says what."""


class Writable(Protocol):
    """Where a `writer.Writer` writes."""

    @property
    def engine(self) -> Engine: ...

    @property
    def undoing(self) -> Engine:
        """The same, for a group of which one failed: its part of the transaction can be taken back."""

    def begin_writing(self, connection: Connection) -> str | None:
        """What each transaction that writes begins with; the ticket by which `committed` knows it later, if it does."""

    def committed(self, ticket: str) -> bool:
        """Whether that transaction was committed, after a commit whose answer got lost. Raises `SQLAlchemyError`."""


class Backend(Writable, Protocol):
    """One kind of database, opened."""

    @property
    def aside(self) -> Writable | None:
        """The same, for writes that wait for no turn; None where there is only one writer."""

    @property
    def reading(self) -> Engine:
        """The same, for transactions that only read: each sees one state of the store."""

    @property
    def looking(self) -> Engine:
        """The same, for whoever asks one question only, which takes no transaction to be answered from one state."""

    @property
    def exclusive(self) -> bool:
        """Whether no other process can have it open: whoever was there before is gone."""

    def begin_reading(self, connection: Connection) -> None:
        """What each transaction on `reading` begins with."""

    def begin_migrating(self, connection: Connection) -> None:
        """Keeps other processes from migrating at the same time. Raises `Mistaken` for a server that will not do."""

    def mistaken(self, error: SQLAlchemyError) -> bool:
        """Whether a person has to put right what kept it from being opened: waiting for it helps nobody."""

    def close(self) -> None:
        """Lets go of it."""
