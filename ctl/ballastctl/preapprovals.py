"""``ballastctl preapprove``, ``preapprovals``, ``revoke``: approvals given before an alert fires."""

from collections.abc import Iterator
from datetime import UTC, datetime

import click
from pydantic import TypeAdapter

from ballastctl import words
from ballastctl.connection import Connection, columns, connected, for_option, instant, output_option, reason_option, say
from kube_ballast.clients.remediator_types import Preapproval


def limit(value: str) -> tuple[str, float]:
    """NAME=VALUE, where the value is a number. Raises click.BadParameter."""
    name, _, most = value.partition("=")
    try:
        return name, float(most)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no limit: write for example members_at_once=1") from error


@click.command(short_help="Approves RUNBOOK beforehand, until a time.")
@click.argument("runbook")
@click.option("--cluster", required=True, help="Where.")
@click.option("--target", "targets", multiple=True, required=True, help="On what, such as an etcd's name. Repeatable.")
@click.option(
    "--limit", "limits", multiple=True, type=limit, metavar="NAME=VALUE", help="The most it may be. Repeatable."
)
@click.option("--acknowledge", multiple=True, metavar="GUARD", help="Accept the risk that it names. Repeatable.")
@click.option("--until", type=instant, metavar="TIME", help="Such as 2026-12-24T18:00 (your time) or …Z.")
@for_option
@reason_option
@connected
def preapprove(
    connection: Connection,
    *,
    runbook: str,
    cluster: str,
    targets: tuple[str, ...],
    limits: tuple[tuple[str, float], ...],
    acknowledge: tuple[str, ...],
    until: datetime | None,
    seconds: float | None,
    reason: str,
) -> None:
    """Approves RUNBOOK beforehand, on these targets, within these limits, until then.

    It counts as your approval of each plan that fits; the guards are asked all the same. It holds for the runbook as
    it is reviewed now. `ballastctl show RUN` names a plan's limits.
    """
    if (until is None) == (seconds is None):
        raise click.UsageError("say when it ends: --until TIME or --for DURATION")
    given = connection.remediator.preapprove(
        cluster=cluster,
        runbook=runbook,
        targets=targets,
        limits=dict(limits),
        acknowledge=acknowledge,
        reason=reason,
        until=until,
        seconds=seconds,
        timeout=connection.timeout,
    )
    say(words.fitted(_described(given, now=datetime.now(UTC)), columns()))


@click.command()
@output_option
@connected
def preapprovals(connection: Connection, output: str) -> None:
    """Lists the pre-approvals that are in force."""
    found = connection.remediator.preapprovals(timeout=connection.timeout)
    if output == "json":
        click.echo(TypeAdapter(tuple[Preapproval, ...]).dump_json(found, indent=2))
        return
    if not found:
        click.echo("no pre-approval is in force")
    for one in found:
        say(words.fitted(_described(one, now=datetime.now(UTC)), columns()))


@click.command()
@click.argument("preapproval_id", metavar="ID")
@reason_option
@connected
def revoke(connection: Connection, preapproval_id: str, reason: str) -> None:
    """Takes a pre-approval back. What it let pass and has not begun waits for a person again."""
    taken = connection.remediator.revoke(preapproval_id, reason=reason, timeout=connection.timeout)
    click.echo(f"revoked: {taken.runbook} on {_targets(taken)} waits for a person again")


def _described(one: Preapproval, *, now: datetime) -> Iterator[str]:
    yield click.style(f"{one.id}  {one.runbook} on {_targets(one)}", bold=True)
    yield f"  approved beforehand by {words.clean(one.person)}: {words.clean(one.reason)}"
    yield f"  {words.until(one.until, now)}"
    for name, most in one.limits.items():
        yield f"  only plans whose {words.clean(name)} is at most {most:g}"
    for guard in one.acknowledged:
        yield f"  the risk that {words.clean(guard)} may name is accepted"
    if one.problem is not None:
        yield click.style(f"  approves nothing: {words.clean(one.problem)}", fg="red")
    yield f"  to take it back: ballastctl revoke {one.id} --reason …"


def _targets(one: Preapproval) -> str:
    return words.clean(f"{', '.join(one.targets)} in {one.cluster}")
