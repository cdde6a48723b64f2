"""The command ``ballast-exporter``."""

import sys
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import click
import structlog

from ballast_exporter import app, logs
from ballast_exporter.collectors import COLLECTORS
from ballast_exporter.config import Config
from ballast_exporter.webconfig import WebConfig, load_web_config, server_tls
from kube_ballast import __version__, wsgi
from kube_ballast.config import split_address
from kube_ballast.configfile import ConfigError, load

EXIT_FAILED: Final = 1
EXIT_MISCONFIGURED: Final = 2
_log = structlog.get_logger("ballast_exporter")


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), required=True, help="The configuration, YAML."
)
@click.option("--web.listen-address", "listen", metavar="HOST:PORT", help="Instead of the configuration's `listen`.")
@click.option(
    "--web.config.file",
    "web_config_file",
    type=click.Path(path_type=Path),
    help="TLS and basic authentication, in exporter-toolkit's format; instead of `web_config_file`.",
)
@click.option(
    "--collectors",
    metavar="A,B",
    help="Run these collectors and no other. There are: " + ", ".join(kind.name for kind in COLLECTORS) + ".",
)
@click.option("--check-config", is_flag=True, help="Check the configuration and start nothing.")
@click.version_option(__version__, prog_name="ballast-exporter")
def main(
    config_file: Path, listen: str | None, web_config_file: Path | None, collectors: str | None, *, check_config: bool
) -> None:
    """Shows Prometheus what today's monitoring of a control plane is blind to.

    Exit codes: 0 stopped in order; 1 it cannot run or its worker died (a supervisor may start it again);
    2 a mistake in the command line or a configuration file, and nothing was started.
    """
    try:
        config = _overridden(load(config_file, Config), listen, web_config_file, collectors)
        web = WebConfig() if config.web_config_file is None else load_web_config(config.web_config_file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_MISCONFIGURED)
    if not app.enabled(config):
        raise click.UsageError("no collector is enabled: there is nothing to export")
    if check_config:
        click.echo(f"{config_file}: no mistake found; collectors: {', '.join(app.enabled(config))}")
        return
    _serve(config, web)


def _serve(config: Config, web: WebConfig) -> None:
    logs.configure(config.log)
    host, port = split_address(config.listen)
    tls = server_tls(web)
    _log.info("listening", address=config.listen, tls=tls is not None, users=len(web.basic_auth_users))
    try:
        wsgi.serve(partial(_service, config), host, port, tls=tls)
    except OSError as error:
        _fail(f"cannot listen on {config.listen}: {error.strerror or error}")


def _service(config: Config) -> wsgi.Service:
    """In the worker process."""
    logs.configure(config.log)
    return app.service(config)


def _overridden(config: Config, listen: str | None, web_config_file: Path | None, collectors: str | None) -> Config:
    changes: dict[str, object] = {}
    if listen is not None:
        try:
            split_address(listen)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--web.listen-address") from error
        changes["listen"] = listen
    if web_config_file is not None:
        changes["web_config_file"] = web_config_file
    if collectors is not None:
        wanted = [name.strip() for name in collectors.split(",") if name.strip()]
        changes["collectors"] = _only(config, wanted)
        idle = set(wanted) - set(app.enabled(config.model_copy(update=changes)))
        if idle:
            raise click.BadParameter(
                f"{', '.join(sorted(idle))}: the configuration names nobody to ask", param_hint="--collectors"
            )
    return config.model_copy(update=changes)


def _only(config: Config, wanted: list[str]) -> object:
    known = [kind.name for kind in COLLECTORS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise click.BadParameter(
            f"no collector is called {', '.join(unknown)}; there are: {', '.join(known)}", param_hint="--collectors"
        )
    settings = {
        kind.name: kind.settings(config).model_copy(update={"enabled": kind.name in wanted}) for kind in COLLECTORS
    }
    return config.collectors.model_copy(update=settings)


def _fail(words: str) -> NoReturn:
    click.echo(f"ballast-exporter: {words}", err=True)
    sys.exit(EXIT_FAILED)
