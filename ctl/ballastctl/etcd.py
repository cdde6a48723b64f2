"""``ballastctl etcd``: looks at an etcd itself; it needs no remediator and no Prometheus."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from types import FrameType
from typing import Final, ParamSpec

import click
from pydantic import TypeAdapter, ValidationError

from ballast_exporter.census import FAST, Cancelled, CensusError, Settings
from ballastctl.etcd_access import Etcd, SeveralEtcds
from ballastctl.etcd_options import chosen, etcd_options
from ballastctl.exits import EXIT_INTERRUPTED, EXIT_MISTAKEN, EXIT_REFUSED, EXIT_UNREACHABLE, fail
from ballastctl.space import Console, Wanted, once, watch
from ballastctl.space_report import MOST_LARGEST
from kube_ballast.analysis.keyspace import DEFAULT_PREFIX
from kube_ballast.clients.errors import BadResponse, ClientError, Denied
from kube_ballast.config import Duration

P = ParamSpec("P")
_EPILOG: Final = """\b
Examples:
  ballastctl etcd space --endpoints https://10.0.0.1:2379 --cacert ca.crt --cert client.crt --key client.key
  ballastctl etcd space --config /etc/ballast/exporter.yaml --watch 5m
  ballastctl etcd space --fast --output json | jq '.resources[:3]'

\b
Exit codes:
  0    done
  1    the credentials are not good enough
  2    a mistake in the command line or the configuration
  3    no member can be reached or counted now; nothing is shown of an unfinished count
  130  Ctrl-C

Nothing is ever written to etcd. docs/ballastctl.md explains the JSON.
"""


@click.group()
def etcd() -> None:
    """Looks at an etcd itself, whoever uses it."""


def _interval(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return TypeAdapter[float](Duration).validate_python(float(value) if value.isdecimal() else value)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _prefixes(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if any(not each.strip("/") for each in value):
        raise click.BadParameter("an apiserver's prefix is not empty; keys outside the prefixes are counted anyway")
    return value


def _in_words(command: Callable[P, None]) -> Callable[P, None]:
    """Turns what can go wrong into words and exit codes."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Cancelled:
            fail("stopped; nothing is shown of an unfinished count", EXIT_INTERRUPTED)
        except SeveralEtcds as error:
            fail(str(error), EXIT_MISTAKEN)
        except Denied as error:
            user = "--user, which needs the role root (etcd 3.6: to read every key)"
            fail(f"{error}. Check --cacert, --cert and --key; or {user}", EXIT_REFUSED)
        except BadResponse as error:
            fail(f"{error}. Is it an etcd's client port?", EXIT_UNREACHABLE)
        except ClientError as error:
            fail(f"{error}. Is it an etcd's client port, and https where that speaks TLS?", EXIT_UNREACHABLE)
        except CensusError as error:
            fail(f"{error} (--fast does not pause)", EXIT_UNREACHABLE)

    return wrapped


@etcd.command(epilog=_EPILOG)
@etcd_options
@click.option(
    "--prefix",
    "prefixes",
    multiple=True,
    default=(DEFAULT_PREFIX,),
    show_default=True,
    callback=_prefixes,
    help="--etcd-prefix of an apiserver that uses this etcd. Repeatable.",
)
@click.option("--fast", is_flag=True, help="Read without pausing; without it, 4,000 keys and 16 MiB a second at most.")
@click.option("--keys-only", is_flag=True, help="Count keys and read no sizes: less to send, and less to say.")
@click.option(
    "--watch",
    "interval",
    is_flag=False,
    flag_value="1m",
    metavar="[INTERVAL]",
    callback=_interval,
    help="Count again and again, a minute apart if no other time is said, and show what grows.",
)
@click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Show so many resources.")
@click.option(
    "--largest",
    type=click.IntRange(0, MOST_LARGEST),
    default=0,
    metavar="N",
    help="Name the N largest objects; names may be secret.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
@_in_words
def space(
    context: click.Context,
    /,
    *,
    prefixes: tuple[str, ...],
    fast: bool,
    keys_only: bool,
    interval: float | None,
    top: int,
    largest: int,
    output: str,
    **_connection: object,
) -> None:
    """Shows what fills an etcd, whose it is, and what each cure gives back."""
    settings = replace(FAST if fast else Settings(), prefixes=prefixes, measure=0 if keys_only else None)
    console = Console(json=output == "json", top=top)
    wanted = Wanted(settings, largest)
    reached = Etcd(chosen(context))
    with cancelled_by_ctrl_c() as cancel:
        try:
            if interval is None:
                once(reached, wanted, console, cancel)
            else:
                watch(reached, wanted, console, cancel, interval)
        finally:
            reached.close()


@contextmanager
def cancelled_by_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a count ends between two requests; the second ends everything."""
    cancel = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if cancel.is_set():
            sys.exit(EXIT_INTERRUPTED)
        cancel.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
