"""The options that say which etcd is meant, named and read from the environment as etcdctl has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click
from click.core import ParameterSource
from pydantic import ValidationError

from ballast_exporter.config import Config
from kube_ballast.config import BasicAuth, EtcdConfig, EtcdMemberConfig, TLSFiles
from kube_ballast.configfile import ConfigError, load

P = ParamSpec("P")
T = TypeVar("T")
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_CONNECTING: Final = ("endpoints", "cacert", "cert", "key", "user", "password_file")


def etcd_options(command: Callable[P, T]) -> Callable[P, T]:
    """Adds them; ``chosen`` reads them."""
    for option in reversed(
        (
            click.option(
                "--endpoints",
                default="127.0.0.1:2379",
                show_default=True,
                envvar="ETCDCTL_ENDPOINTS",
                show_envvar=True,
                metavar="URL[,URL…]",
                help="The members to ask; no other is asked.",
            ),
            click.option("--cacert", type=_FILE, envvar="ETCDCTL_CACERT", show_envvar=True, help="PEM."),
            click.option("--cert", type=_FILE, envvar="ETCDCTL_CERT", show_envvar=True, help="PEM."),
            click.option("--key", type=_FILE, envvar="ETCDCTL_KEY", show_envvar=True, help="PEM."),
            click.option("--user", metavar="NAME", help="Where etcd asks for one."),
            click.option("--password-file", type=_FILE, help="Its password and nothing else."),
            click.option("--config", type=_FILE, help="The exporter's configuration, instead of all of these."),
            click.option("--etcd-cluster", metavar="NAME", help="Which etcd of that configuration."),
        )
    ):
        command = option(command)
    return command


def chosen(context: click.Context) -> EtcdConfig:
    """The etcd that the options name. Raises click.UsageError with what is wrong about them."""
    options = context.params
    if options["config"] is not None:
        given = [name for name in _CONNECTING if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"--config and --{given[0].replace('_', '-')} exclude each other")
        return _configured(options["config"], options["etcd_cluster"])
    if options["etcd_cluster"] is not None:
        raise click.UsageError("--etcd-cluster chooses from a --config, and there is none")
    if (options["user"] is None) != (options["password_file"] is None):
        raise click.UsageError("--user and --password-file belong together: give both or neither")
    files = {part: options[option] for part, option in (("ca", "cacert"), ("cert", "cert"), ("key", "key"))}
    secure = any(files.values())
    endpoints = dict.fromkeys(
        _with_scheme(each.strip(), secure=secure) for each in options["endpoints"].split(",") if each.strip()
    )
    auth = options["user"] and {"username": options["user"], "password_file": options["password_file"]}
    try:
        return EtcdConfig(
            members=tuple(EtcdMemberConfig(endpoint=each) for each in endpoints),
            tls=TLSFiles(**files) if secure else None,
            auth=BasicAuth(**auth) if auth else None,
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.UsageError(reason) from error


def _with_scheme(endpoint: str, *, secure: bool) -> str:
    """etcdctl takes HOST:PORT too."""
    return endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"


def _configured(file: Path, name: str | None) -> EtcdConfig:
    try:
        etcds = {each.name: each for each in load(file, Config).etcd}
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if name is None and len(etcds) == 1:
        return next(iter(etcds.values()))
    if name not in etcds:
        which = "say which with --etcd-cluster" if name is None else f"there is no {name} among them"
        raise click.UsageError(f"{file} has the etcds {', '.join(sorted(etcds))}: {which}")
    return etcds[name]
