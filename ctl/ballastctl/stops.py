"""``ballastctl stop``, ``freeze``, ``hold``, ``lift``, ``stops``: what keeps runs from beginning."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import click
from pydantic import TypeAdapter

from ballastctl import words
from ballastctl.connection import Connection, columns, connected, for_option, output_option, reason_option, say
from kube_ballast.clients.remediator_types import Stop, Stops

_MEANS: Final = {
    "kill_switch": "nothing begins, and what is under way ends before its next step",
    "brake": "nothing begins; what waits now expires when it is lifted, and is not let loose",
    "freeze": "nothing begins; what is under way goes on",
    "hold": "nothing begins; what is under way goes on",
}
_SHOWN: Final = 3


@click.command(short_help="The kill switch: stops everything, a cluster or a runbook.")
@click.option("--cluster", help="Only in this cluster.")
@click.option("--runbook", help="Only this runbook.")
@reason_option
@connected
def stop(connection: Connection, cluster: str | None, runbook: str | None, reason: str) -> None:
    """The kill switch: stops everything, or a cluster, or a runbook, until somebody lifts it.

    Nothing begins any more, and what is under way ends before its next step, with nothing half-done.
    """
    placed = connection.remediator.stop(
        "kill_switch", cluster=cluster, runbook=runbook, reason=reason, timeout=connection.timeout
    )
    _tell(_set(placed))


@click.command()
@click.argument("cluster")
@for_option
@reason_option
@connected
def freeze(connection: Connection, cluster: str, seconds: float | None, reason: str) -> None:
    """Says that you work on CLUSTER: nothing begins in it. What is under way goes on."""
    placed = connection.remediator.stop(
        "freeze", cluster=cluster, seconds=seconds, reason=reason, timeout=connection.timeout
    )
    _tell(_set(placed))


@click.command(short_help="Says that you work on TARGET: nothing begins on it.")
@click.argument("cluster")
@click.argument("target")
@for_option
@reason_option
@connected
def hold(connection: Connection, cluster: str, target: str, seconds: float | None, reason: str) -> None:
    """Says that you work on TARGET in CLUSTER (such as an etcd's name): nothing begins on it."""
    placed = connection.remediator.stop(
        "hold", cluster=cluster, target=target, seconds=seconds, reason=reason, timeout=connection.timeout
    )
    _tell(_set(placed))


@click.command()
@click.argument("stop_id", metavar="ID")
@reason_option
@connected
def lift(connection: Connection, stop_id: str, reason: str) -> None:
    """Lifts a stop, the brake too. `ballastctl stops` lists them."""
    lifted = connection.remediator.lift(stop_id, reason=reason, timeout=connection.timeout)
    left = connection.remediator.stops(timeout=connection.timeout)
    click.echo(f"lifted: the {_kind(lifted)} on {words.clean(lifted.scope)}")
    if lifted.kind == "brake":
        click.echo("What waited behind it has expired; an alert that still fires opens a new run.")
    _tell(_in_force(left, now=datetime.now(UTC)))


@click.command(short_help="Lists what keeps runs from beginning.")
@output_option
@connected
def stops(connection: Connection, output: str) -> None:
    """Lists what keeps runs from beginning now, and how each is lifted."""
    found = connection.remediator.stops(timeout=connection.timeout)
    if output == "json":
        click.echo(TypeAdapter(Stops).dump_json(found, indent=2))
        return
    if not found.stops and found.kill_switch_file is None:
        click.echo("no stop is in force")
    now = datetime.now(UTC)
    if found.kill_switch_file is not None:
        click.echo(click.style("everything is stopped by a file", fg="red", bold=True))
        click.echo(f"  {words.clean(found.kill_switch_file)} is there, on the remediator's host")
        click.echo("  when it may go on: remove it")
    for one in found.stops:
        _tell(_described(one, now=now))


def warnings(connection: Connection) -> Iterator[str]:
    """What has to be known before any list of runs: that nothing, or less, begins now."""
    yield from _in_force(connection.remediator.stops(timeout=connection.timeout), now=datetime.now(UTC))


def _tell(lines: Iterable[str]) -> None:
    say(words.fitted(lines, columns()))


def _in_force(found: Stops, *, now: datetime) -> Iterator[str]:
    lines = [_sentence(one, now) for one in found.stops]
    if found.kill_switch_file is not None:
        path = words.clean(found.kill_switch_file)
        lines.insert(0, f"STOPPED: everything, by the file {path} on the remediator's host, until it is removed")
    for line in lines[:_SHOWN]:
        yield click.style(line, fg="yellow", bold=True)
    if len(lines) > _SHOWN:
        yield click.style(f"… and {len(lines) - _SHOWN} more: ballastctl stops", fg="yellow", bold=True)


def _sentence(one: Stop, now: datetime) -> str:
    who = f"by {words.clean(one.person)} {words.age(one.set_at, now)} ago"
    return f"STOPPED: {words.clean(one.scope)}, {_kind(one)} {who} ({words.clean(one.reason)})"


def _set(one: Stop) -> Iterator[str]:
    yield f"{_kind(one)} {one.id} is on for {words.clean(one.scope)}: {_MEANS[one.kind]}"
    if one.until is not None:
        yield f"in force {words.until(one.until, datetime.now(UTC))}"
    yield f"when it may go on: ballastctl lift {one.id} --reason …"


def _described(one: Stop, *, now: datetime) -> Iterator[str]:
    scope = words.clean(one.scope)
    yield click.style(f"{one.id}  {_kind(one)} on {scope}", fg="yellow", bold=True)
    yield f"  {words.clean(one.person)}, {words.age(one.set_at, now)} ago: {words.clean(one.reason)}"
    yield f"  {_MEANS.get(one.kind, 'nothing begins')}"
    if one.until is not None:
        yield f"  {words.until(one.until, now)}"
    yield f"  when it may go on: ballastctl lift {one.id} --reason …"


def _kind(one: Stop) -> str:
    return one.kind.replace("_", " ")
