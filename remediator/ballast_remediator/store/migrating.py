"""Brings a store's schema to the newest version, forward only. Loaded only where there is something to do: 10 MiB."""

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from ballast_remediator.store.backend import Mistaken
from ballast_remediator.store.migrations import FOLDER, newest


def upgrade(connection: Connection) -> None:
    """In the caller's transaction. Raises `Mistaken` when a newer version wrote the store."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Mistaken(
            f"a newer version wrote it, and this one knows its schema only up to {newest()} ({error})"
        ) from error
