"""The command ``ballastctl``."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from ballast_remediator.contract import RunState
from ballastctl import policy, preapprovals, stops, words
from ballastctl.apiserver import apiserver
from ballastctl.apiserver_doctor import doctor
from ballastctl.audit import audit
from ballastctl.audit_policy import audit_policy
from ballastctl.backup import backup, restore
from ballastctl.connection import Connection, columns, connected, output_option, reason_option, say
from ballastctl.etcd import etcd
from ballastctl.exits import EXIT_REFUSED, fail
from ballastctl.replay import replay
from ballastctl.runbook import runbook
from ballastctl.shadow import shadow
from ballastctl.token import token
from kube_ballast import __version__
from kube_ballast.clients.remediator import Remediator
from kube_ballast.clients.remediator_types import Run, RunSummary
from kube_ballast.config import HttpConfig, TLSFiles

_EPILOG = """\b
Exit codes (`etcd space`, `apiserver top`, `apiserver doctor`, `audit verify`, `backup` and `restore` tell their own):
  0  done
  1  the remediator says no, or the question was answered with no
  2  a mistake in the command line
  3  the remediator cannot be reached or cannot answer; nothing was changed
  4  no answer came in time: whether the decision counts is unknown, look with
     `ballastctl show` or `ballastctl stops`
"""


@click.group(epilog=_EPILOG, context_settings={"max_content_width": 100, "auto_envvar_prefix": "BALLAST"})
@click.option("--url", default="http://127.0.0.1:9791", show_default=True, show_envvar=True, help="The remediator.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    show_envvar=True,
    help="A file that holds your token and nothing else.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    show_envvar=True,
    help="Who vouches for the remediator's certificate, PEM; without it the system's authorities do.",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=15.0, show_default=True, help="Seconds to wait.")
@click.version_option(__version__, prog_name="ballastctl")
@click.pass_context
def main(context: click.Context, url: str, token_file: Path | None, ca_file: Path | None, timeout: float) -> None:
    """Looks at runs, decides on them, stops them; shows what fills an etcd, and who asks the apiservers.

    Colours appear on terminals only, and not at all with NO_COLOR set.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
    tls = None if ca_file is None else TLSFiles(ca=ca_file)
    try:
        config = HttpConfig(url=url, tls=tls, bearer_token_file=token_file)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, "), param_hint="--url") from error
    context.obj = Connection(Remediator(config), timeout)


for _command in (
    token,
    audit,
    audit_policy,
    backup,
    restore,
    etcd,
    apiserver,
    stops.stop,
    stops.freeze,
    stops.hold,
    stops.lift,
    stops.stops,
    preapprovals.preapprove,
    preapprovals.preapprovals,
    preapprovals.revoke,
    policy.policy,
    shadow,
    runbook,
    replay,
):
    main.add_command(_command)
apiserver.add_command(doctor)


@main.command()
@click.option("--state", type=click.Choice([state.value for state in RunState]), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most so many.")
@output_option
@connected
def runs(connection: Connection, state: str | None, limit: int, output: str) -> None:
    """Lists runs, the newest first."""
    found = connection.remediator.runs(limit=limit, state=state, timeout=connection.timeout)
    if output == "json":
        click.echo(TypeAdapter(tuple[RunSummary, ...]).dump_json(found, indent=2))
        return
    say(words.fitted(stops.warnings(connection), columns()))
    say(words.table(found, now=datetime.now(UTC), columns=columns()))


@main.command()
@click.argument("run_id", metavar="RUN")
@output_option
@connected
def show(connection: Connection, run_id: str, output: str) -> None:
    """Shows a run: plan, guards, steps and what happened."""
    run = connection.remediator.run(run_id, timeout=connection.timeout)
    if output == "json":
        click.echo(TypeAdapter(Run).dump_json(run, indent=2))
        return
    say(words.fitted(words.details(run, now=datetime.now(UTC)), columns()))


@main.command(short_help="Approves a run's plan, after it was shown.")
@click.argument("run_id", metavar="RUN")
@reason_option
@click.option(
    "--acknowledge", multiple=True, metavar="GUARD", help="Accept the risk that this guard names. Repeatable."
)
@click.option("--plan-hash", help="Approve the plan of this hash without being asked; needed without a terminal.")
@connected
def approve(
    connection: Connection, run_id: str, reason: str, acknowledge: tuple[str, ...], plan_hash: str | None
) -> None:
    """Approves a run's plan: shows it and asks, or takes the plan that --plan-hash names.

    What is approved is the plan that was shown. If it is another one by now, nothing happens.
    """
    if plan_hash is None:
        plan_hash = _asked(connection, run_id, acknowledge)
    run = connection.remediator.approve(
        run_id, plan_hash=plan_hash, reason=reason, acknowledge=acknowledge, timeout=connection.timeout
    )
    if run.state == RunState.AWAITING_APPROVAL:
        click.echo(f"run {run.id} is {words.approvals(run)}")
    else:
        click.echo(f"run {run.id} is approved and now {run.state}; follow it with: ballastctl show {run.id}")


@main.command()
@click.argument("run_id", metavar="RUN")
@reason_option
@connected
def reject(connection: Connection, run_id: str, reason: str) -> None:
    """Rejects a run's plan, or cancels a run that has not begun."""
    run = connection.remediator.reject(run_id, reason=reason, timeout=connection.timeout)
    click.echo(f"run {run.id} is {run.state}")


@main.command()
@click.argument("run_id", metavar="RUN")
@reason_option
@connected
def resolve(connection: Connection, run_id: str, reason: str) -> None:
    """Frees the target of a run whose outcome is unknown. Look at the cluster first."""
    run = connection.remediator.resolve(run_id, reason=reason, timeout=connection.timeout)
    click.echo(f"run {run.id} is resolved; {run.target} in {run.cluster} may be acted on again")


def _asked(connection: Connection, run_id: str, acknowledge: tuple[str, ...]) -> str:
    """Shows the plan and asks; the hash of what was shown."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"there is no terminal to ask on: read `ballastctl show {run_id}`, then name the plan with --plan-hash"
        )
    run = connection.remediator.run(run_id, timeout=connection.timeout)
    if run.state != RunState.AWAITING_APPROVAL or run.plan_hash is None:
        fail(f"run {run.id} is {run.state}, not waiting for approval", EXIT_REFUSED)
    say(words.fitted(words.details(run, now=datetime.now(UTC)), columns()))
    missing = [guard for guard in run.to_acknowledge if guard not in acknowledge]
    if missing:
        options = " ".join(f"--acknowledge {guard}" for guard in missing)
        fail(f"the plan carries a risk that has to be accepted by name; if you do: {options}", EXIT_REFUSED)
    click.echo()
    if not click.confirm("Run this plan?"):
        fail("not approved", EXIT_REFUSED)
    return run.plan_hash
