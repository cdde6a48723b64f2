"""The command ``ballast-remediator``."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import click
import structlog

from ballast_remediator import app, policy
from ballast_remediator.config import Config
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import Place
from ballast_remediator.store.sqlite import StoreInUse
from ballast_remediator.store.writer import StoreUnavailable
from ballast_remediator.tokens import TokensFile
from kube_ballast import __version__, configfile, wsgi
from kube_ballast.config import split_address

EXIT_FAILED: Final = 1
EXIT_MISCONFIGURED: Final = 2
THREADS: Final = 32
"""Requests that wait for the disk at the same time share one commit, so more of them cost little."""


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="The configuration, YAML. It names the tokens file and the policy file.",
)
@click.option("--check-config", is_flag=True, help="Check the configuration, the tokens and the policy; start nothing.")
@click.version_option(__version__, prog_name="ballast-remediator")
def main(config_file: Path, *, check_config: bool) -> None:
    """Takes Alertmanager's notifications and runs what its runbooks and its policy allow.

    Exit codes: 0 stopped in order; 1 it cannot run or its worker died (a supervisor may start it again);
    2 a mistake in the command line, the configuration, the tokens or the policy, and nothing was started.
    """
    config = _checked(config_file)
    if check_config:
        click.echo(f"{config_file}: no mistake found; tokens {config.tokens_file}, policy {config.policy_file}")
        return
    _log()
    _store_opens(config.store.place)
    host, port = split_address(config.listen)
    try:
        wsgi.serve(
            partial(_service, config_file),
            host,
            port,
            tls=None if config.tls is None else wsgi.ServerTLS(config.tls.cert, config.tls.key),
            blocking_threads=THREADS,
            limits=wsgi.Limits(body_bytes=config.limits.body_bytes),
        )
    except OSError as error:
        _fail(f"cannot listen on {config.listen}: {error.strerror or error}")


def _checked(config_file: Path) -> Config:
    """The configuration, or every mistake of all three files on stderr and the exit."""
    problems: list[configfile.ConfigError] = []
    try:
        config = configfile.load(config_file, Config)
    except configfile.ConfigError as error:
        _misconfigured([error])
    for check in (partial(configfile.load, config.tokens_file, TokensFile), partial(policy.load, config.policy_file)):
        try:
            check()
        except configfile.ConfigError as error:
            problems.append(error)
    if problems:
        _misconfigured(problems)
    return config


def _misconfigured(problems: list[configfile.ConfigError]) -> NoReturn:
    for problem in problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_MISCONFIGURED)


def _store_opens(place: Place) -> None:
    """Says so here, in words, rather than in the worker, where it would be a traceback."""
    try:
        Store(place).close()
    except (StoreInUse, StoreUnavailable) as error:
        _fail(str(error))


def _fail(words: str) -> NoReturn:
    click.echo(f"ballast-remediator: {words}", err=True)
    sys.exit(EXIT_FAILED)


def _service(config_file: Path) -> wsgi.Service:
    """In the worker process."""
    _log()
    return app.service(config_file)


def _log() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
