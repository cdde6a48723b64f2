"""``ballastctl backup`` and ``restore``: the remediator's store in one file, and back."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from ballast_remediator.archive import Unusable
from ballast_remediator.config import Config
from ballastctl.counting import Counting
from ballastctl.exits import EXIT_MISTAKEN, EXIT_REFUSED, EXIT_UNREACHABLE, fail
from kube_ballast import configfile

P = ParamSpec("P")
_config = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The remediator's configuration: it says where the store is.",
)
_EXITS = """

    Exit codes: 0 done; 1 refused, and nothing was changed; 2 a mistake in the command line or the configuration; 3 the
    store cannot be reached, read or written.
"""


def _with_store(command: Callable[P, None]) -> Callable[P, None]:
    """Turns what can go wrong into words and exit codes."""
    command.__doc__ = (command.__doc__ or "").rstrip() + _EXITS

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            # It stands on the store, and ballastctl is installed without the remediator's dependencies too.
            from ballast_remediator.store.backup import NotRestored  # noqa: PLC0415 - the remediator's own dependencies
            from ballast_remediator.store.sqlite import StoreInUse  # noqa: PLC0415 - the remediator's own dependencies
            from ballast_remediator.store.writer import StoreUnavailable  # noqa: PLC0415 - the remediator's own dependencies
        except ImportError as error:
            fail(
                f"this needs the remediator's dependencies: pip install 'kube-ballast[remediator]' ({error})",
                EXIT_MISTAKEN,
            )
        try:
            command(*args, **kwargs)
        except configfile.ConfigError as error:
            fail(str(error), EXIT_MISTAKEN)
        except StoreInUse as error:
            fail(f"{error}: stop the remediator first", EXIT_REFUSED)
        except (Unusable, NotRestored) as error:
            fail(str(error), EXIT_REFUSED)
        except (StoreUnavailable, OSError) as error:
            fail(str(error), EXIT_UNREACHABLE)

    return wrapped


@click.command(short_help="Writes the remediator's store to a file, while it runs.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_config
@_with_store
def backup(file: Path, config_file: Path) -> None:
    """Writes one state of the remediator's store to FILE, while the remediator goes on.

    It fits either kind of store. FILE appears when it is whole, readable by you alone: it holds what alerts and people
    said. `ballastctl audit verify --backup FILE` checks the audit in it.
    """
    from ballast_remediator.store import backup as backups  # noqa: PLC0415 - the remediator's own dependencies

    place = configfile.load(config_file, Config).store.place
    with Counting("rows written") as counting:
        header = backups.save(place, file, each=counting.one)
    click.echo(f"{file}: {place} as it was at {_time(header.made_at)}")
    click.echo(f"the audit's head, to write down elsewhere: {header.head}")


@click.command(short_help="Fills an empty store from a backup.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_config
@_with_store
def restore(file: Path, config_file: Path) -> None:
    """Fills an empty store from the backup FILE, all or nothing, while no remediator runs.

    Nothing that was done is done again: what was under way is quarantined, what had not begun expires, and a kill
    switch on everything stays until a person has looked at the clusters and lifts it.
    """
    from ballast_remediator.store import backup as backups  # noqa: PLC0415 - the remediator's own dependencies

    place = configfile.load(config_file, Config).store.place
    with Counting("rows restored") as counting:
        header = backups.restore(place, file, each=counting.one)
    click.echo(f"{place} is as it was at {_time(header.made_at)}")
    click.echo("A kill switch is on for everything: start the remediator, look at the clusters and at `ballastctl runs")
    click.echo("--state outcome_unknown`, then lift it: `ballastctl stops` says how.")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
