"""``ballastctl policy``: what a policy file says, and what the remediator would do about an alert."""

import sys
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter

from ballast_remediator import policy as policies
from ballast_remediator.config import Config
from ballast_remediator.notification import Malformed, alerts_of
from ballast_remediator.tokens import TokensFile
from ballastctl import explain_words, policy_words
from ballastctl.connection import Connection, columns, connected, output_option, say
from ballastctl.exits import EXIT_MISTAKEN, fail
from ballastctl.words import fitted
from kube_ballast import configfile
from kube_ballast.clients.remediator_types import Explanation, Explanations

LOOKING = 60.0
"""Seconds that live evidence may take at least: a source that does not answer is waited for."""
_file = click.Path(path_type=Path, exists=True, dir_okay=False)
_or_stdin = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


@click.group(short_help="What a policy means, and what would be done.")
def policy() -> None:
    """Says what a policy means, and what the remediator would do about an alert."""


@policy.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The remediator's configuration.")
def check(file: Path, config_file: Path | None) -> None:
    """Checks a policy FILE and says in words what each rule means. Asks no remediator.

    With --config it also looks whether the clusters and the people that the policy names exist.

    Exit codes: 0 no mistake found; 2 a mistake, named with file, line and field.
    """
    try:
        loaded = policies.load(file)
        notes = policy_words.never(loaded.content)
        if config_file is not None:
            config = configfile.load(config_file, Config)
            tokens = configfile.load(config.tokens_file, TokensFile)
            notes += policy_words.unknown(loaded.content, config, tokens)
    except configfile.ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_MISTAKEN)
    say(policy_words.meaning(file, loaded, columns=columns()))
    say(fitted((f"{click.style('note', fg='yellow', bold=True)}: {note}" for note in notes), columns()))


@policy.command()
@click.option("--alert", "alert_file", type=_or_stdin, help="As Alertmanager posts or lists it; - is standard input.")
@click.option("--record", "record_file", type=click.Path(path_type=Path, dir_okay=False), help="Keep what was seen.")
@click.option("--evidence", "evidence_file", type=_file, help="Judge what --record kept, and ask nobody.")
@click.option("--policy", "policy_file", type=_file, help="With --evidence: the policy to judge by.")
@output_option
def explain(
    *,
    alert_file: Path | None,
    record_file: Path | None,
    evidence_file: Path | None,
    policy_file: Path | None,
    output: str,
) -> None:
    """Says what a run on an alert would do now, and why. Nothing is acted on, and no run is opened.

    The running remediator judges with live evidence: Prometheus, Alertmanager, the cluster and every guard. With
    --evidence it is judged again offline, by a policy of your choice and as if nothing had ever run.
    """
    if (alert_file is None) == (evidence_file is None):
        raise click.UsageError("name --alert FILE, or --evidence FILE with --policy FILE")
    if (evidence_file is None) != (policy_file is None):
        raise click.UsageError("--evidence and --policy go together: the running remediator has its own policy")
    if evidence_file is not None and policy_file is not None:
        if record_file is not None:
            raise click.UsageError("--record keeps what is seen live, not what was recorded")
        _tell(_offline(evidence_file, policy_file), output, offline=True)
    elif alert_file is not None:
        _live(alert_file, record_file, output)


@connected
def _live(connection: Connection, alert_file: Path, record_file: Path | None, output: str) -> None:
    alerts: bytes = sys.stdin.buffer.read() if str(alert_file) == "-" else alert_file.read_bytes()
    try:
        held = alerts_of(alerts)
    except Malformed as error:
        raise click.BadParameter(str(error), param_hint="--alert") from error
    if not held:
        raise click.BadParameter("it holds no alert", param_hint="--alert")
    found = connection.remediator.explain(
        alerts, record=record_file is not None, timeout=max(connection.timeout, LOOKING)
    )
    _tell(found, output, offline=False)
    if record_file is not None:
        _write(record_file, found.recordings)


def _write(file: Path, recordings: Any) -> None:  # noqa: ANN401 - the remediator's own, kept as it came
    try:
        file.write_bytes(TypeAdapter(Any).dump_json(recordings, indent=2) + b"\n")
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be written: {error.strerror}", param_hint="--record") from error
    click.echo(f"what was seen is in {file}; judge it again with: --evidence {file} --policy FILE", err=True)


def _offline(evidence_file: Path, policy_file: Path) -> Explanations:
    from ballastctl import explain_offline  # noqa: PLC0415 - it brings the store, which no other command needs

    try:
        return explain_offline.explain(evidence_file.read_bytes(), policies.load(policy_file))
    except configfile.ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_MISTAKEN)
    except explain_offline.Unreadable as error:
        fail(f"{evidence_file}: {error}", EXIT_MISTAKEN)


def _tell(found: Explanations, output: str, *, offline: bool) -> None:
    if output == "json":
        click.echo(TypeAdapter(tuple[Explanation, ...]).dump_json(found.explanations, indent=2))
        return
    for number, one in enumerate(found.explanations):
        say(["", ""] if number else [])
        say(explain_words.explanation(one, offline=offline, columns=columns()))
