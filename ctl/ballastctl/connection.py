"""What every command that speaks to the remediator shares."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Concatenate, ParamSpec

import click
from pydantic import TypeAdapter, ValidationError

from ballastctl.exits import EXIT_REFUSED, EXIT_UNKNOWN, EXIT_UNREACHABLE, fail
from ballastctl.words import terminal_width
from kube_ballast.clients.errors import ClientError, Conflict, Denied, Timeout, Unavailable
from kube_ballast.clients.remediator import Remediator
from kube_ballast.config import Duration

P = ParamSpec("P")
_SECONDS: TypeAdapter[float] = TypeAdapter(Duration)


@dataclass(frozen=True, slots=True)
class Connection:
    """The remediator that is spoken to; ``timeout`` is seconds for each request."""

    remediator: Remediator
    timeout: float


def connected(command: Callable[Concatenate[Connection, P], None]) -> Callable[P, None]:
    """Gives a command its connection, and turns what can go wrong with it into words and exit codes."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(click.get_current_context().ensure_object(Connection), *args, **kwargs)
        except Conflict as error:
            fail(error.message, EXIT_REFUSED)
        except Denied as error:
            fail(f"{error}. Check --token-file (BALLAST_TOKEN_FILE) and the token's role", EXIT_REFUSED)
        except Unavailable as error:
            fail(f"{error}. Is --url (BALLAST_URL) right, and the remediator running?", EXIT_UNREACHABLE)
        except Timeout as error:
            fail(str(error), EXIT_UNKNOWN)
        except ClientError as error:
            fail(str(error), EXIT_UNREACHABLE)

    return wrapped


def span(value: str) -> float:
    """Seconds, written as in the configuration. Raises click.BadParameter."""
    try:
        return _SECONDS.validate_python(value)
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(words if "for example" in words else f"{words}: write for example 2h") from error


def instant(value: str) -> datetime:
    """A date and time; without a zone it is the local one, as `date` shows it. Raises click.BadParameter."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is no time: write for example 2026-12-24T18:00 (your time) or 2026-12-24T18:00Z"
        ) from error


output_option = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
reason_option = click.option("--reason", required=True, help="Why, in words; it goes into the audit.")
for_option = click.option("--for", "seconds", type=span, metavar="DURATION", help="Such as 2h; then it is over.")


def columns() -> int | None:
    """To wrap at; a file or a pipe gets each sentence whole."""
    return terminal_width() if sys.stdout.isatty() else None


def say(lines: Iterable[str]) -> None:
    """Prints them, if there are any."""
    for line in lines:
        click.echo(line)
