"""``ballastctl replay``: what a policy would have decided about recorded notifications. It asks nobody."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

from ballastctl import recordings
from ballastctl.connection import output_option, say
from ballastctl.exits import EXIT_MISTAKEN, fail
from ballastctl.recordings import Recording
from ballastctl.words import clean, terminal_width
from kube_ballast.configfile import ConfigError

_CLUSTER = "cluster"
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option("--policy", required=True, type=_FILE, help="The policy file that decides.")
@click.option("--against", type=_FILE, help="Another one to compare it with; the exit code is 1 where they differ.")
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="NAME",
    help="A cluster of the configuration. Repeatable; without it, those that the alerts name.",
)
@output_option
def replay(files: Sequence[Path], policy: Path, against: Path | None, clusters: Sequence[str], output: str) -> None:
    """Feeds recorded notifications to a policy: what would be decided about each alert, and by which rule or guard.

    A FILE holds one webhook body of Alertmanager, or one JSON document a line: a body, or an object of received_at and
    body. Nothing is asked of Prometheus, etcd or the remediator, and nothing is changed.

    Exit codes: 0 decided (and nothing differs), 1 the policies differ, 2 a mistake in a file or the command line.
    """
    try:
        # It stands on the store, and ballastctl is installed without the remediator's dependencies too.
        from ballastctl import replay_report  # noqa: PLC0415
    except ImportError as error:
        fail(
            f"replay needs the remediator's dependencies: pip install 'kube-ballast[remediator]' ({error})",
            EXIT_MISTAKEN,
        )
    try:
        found = recordings.read(files)
        with _quiet():
            replayed = replay_report.replayed(
                found, _clusters(found, clusters), (policy, *([against] if against else []))
            )
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"ballastctl: {clean(str(problem))}", err=True)
        sys.exit(EXIT_MISTAKEN)
    if output == "json":
        click.echo(replay_report.as_json(replayed))
    else:
        say(replay_report.lines(replayed, width=terminal_width()))
    sys.exit(1 if replayed.different else 0)


def _clusters(found: Sequence[Recording], named: Sequence[str]) -> Sequence[str]:
    """What the configuration would name."""
    clusters = named or sorted({a.labels[_CLUSTER] for one in found for a in one.alerts if _CLUSTER in a.labels})
    if not clusters:
        fail("no alert has the label cluster: say with --cluster NAME what the configuration calls it", EXIT_MISTAKEN)
    return clusters


@contextmanager
def _quiet() -> Iterator[None]:
    """What the intake logs for operators is said in the report."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
