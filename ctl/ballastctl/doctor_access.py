"""The options that say which apiservers and which etcd the doctor looks at."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource
from pydantic import ValidationError

from ballast_exporter.config import ApiserversConfig, Config
from ballast_exporter.stall_apiserver import Server
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.kubernetes import Kubernetes
from kube_ballast.config import BasicAuth, EtcdConfig, EtcdMemberConfig, HttpConfig, KubernetesConfig, TLSFiles
from kube_ballast.configfile import ConfigError, load

P = ParamSpec("P")
T = TypeVar("T")
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_AGENT: Final = "ballastctl-doctor"
_FIND_SECONDS: Final = 5.0
_ADMIN: Final = Path("/etc/kubernetes/admin.conf")
_ETCD: Final = ("endpoints", "cacert", "cert", "key", "user", "password_file")
_KUBERNETES: Final = {"kubeconfig": "kubeconfig", "kube_context": "context", "apiservers": "apiserver"}


@dataclass(frozen=True, slots=True)
class Patients:
    """Whom to look at; ``etcd`` is None where none was named."""

    servers: Sequence[Server]
    etcd: EtcdConfig | None


def patient_options(command: Callable[P, T]) -> Callable[P, T]:
    """Adds them; ``chosen`` reads them."""
    for option in reversed(
        (
            click.option(
                "--kubeconfig",
                type=_FILE,
                envvar="KUBECONFIG",
                show_envvar=True,
                help=f"Who asks the apiservers. Without it ~/.kube/config, then {_ADMIN}.",
            ),
            click.option("--context", "kube_context", metavar="NAME", help="Of the kubeconfig; its current one."),
            click.option(
                "--apiserver",
                "apiservers",
                multiple=True,
                metavar="URL",
                help="An apiserver by its own address. Repeatable. Without it those that the Service kubernetes names.",
            ),
            click.option(
                "--endpoints",
                envvar="ETCDCTL_ENDPOINTS",
                show_envvar=True,
                metavar="URL[,URL…]",
                help="etcd's members. Without them a stalled channel cannot be told from a sick etcd.",
            ),
            click.option("--cacert", type=_FILE, envvar="ETCDCTL_CACERT", show_envvar=True, help="etcd's, PEM."),
            click.option("--cert", type=_FILE, envvar="ETCDCTL_CERT", show_envvar=True, help="For etcd, PEM."),
            click.option("--key", type=_FILE, envvar="ETCDCTL_KEY", show_envvar=True, help="For etcd, PEM."),
            click.option("--user", metavar="NAME", help="Where etcd asks for one."),
            click.option("--password-file", type=_FILE, help="Its password and nothing else."),
            click.option(
                "--local-etcd", is_flag=True, help="Each apiserver asks the member on its own host only (kubeadm)."
            ),
            click.option("--config", type=_FILE, help="The exporter's configuration, instead of all of these."),
        )
    ):
        command = option(command)
    return command


def chosen(context: click.Context) -> Patients:
    """Whom the options name.

    Raises:
        click.UsageError: what is wrong about the options.
        ClientError: the cluster was asked where its apiservers are, and does not say.
    """
    options = context.params
    if options["config"] is not None:
        for name, option in {**dict(zip(_ETCD, _ETCD, strict=True)), **_KUBERNETES, "local_etcd": "local_etcd"}.items():
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--config and --{option.replace('_', '-')} exclude each other")
        return _configured(options["config"])
    try:
        etcd = _etcd(**{name: options[name] for name in _ETCD})
        kubeconfig = KubernetesConfig(kubeconfig=_kubeconfig(options["kubeconfig"]), context=options["kube_context"])
        cluster = Kubernetes(kubeconfig, agent=_AGENT)
        urls = options["apiservers"] or apiserver_urls(cluster, timeout=_FIND_SECONDS)
        servers = [Server(HttpConfig(url=_with_scheme(url)), through=cluster) for url in urls]
    except ValidationError as error:
        raise click.UsageError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    if options["local_etcd"]:
        servers = [replace(each, members=_on_its_host(each, etcd)) for each in servers]
    return Patients(servers, etcd)


def _kubeconfig(given: Path | None) -> Path | None:
    """None is the pod that this runs in."""
    if given is not None or "KUBERNETES_SERVICE_HOST" in os.environ:
        return given
    usual = (Path.home() / ".kube/config", _ADMIN)
    found = next((path for path in usual if path.is_file()), None)
    if found is None:
        raise click.UsageError(f"no kubeconfig: neither {usual[0]} nor {usual[1]} is there; name one with --kubeconfig")
    return found


def _etcd(
    *,
    endpoints: str | None,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
    user: str | None,
    password_file: Path | None,
) -> EtcdConfig | None:
    if endpoints is None:
        return None
    if (user is None) != (password_file is None):
        raise click.UsageError("--user and --password-file belong together: give both or neither")
    secure = bool(cacert or cert or key)
    urls = dict.fromkeys(_with_scheme(each.strip(), secure=secure) for each in endpoints.split(",") if each.strip())
    return EtcdConfig(
        members=tuple(EtcdMemberConfig(endpoint=each) for each in urls),
        tls=TLSFiles(ca=cacert, cert=cert, key=key) if secure else None,
        auth=BasicAuth(username=user, password_file=password_file) if user and password_file else None,
    )


def _with_scheme(url: str, *, secure: bool = True) -> str:
    """HOST:PORT will do."""
    return url if "://" in url else f"{'https' if secure else 'http'}://{url}"


def _on_its_host(server: Server, etcd: EtcdConfig | None) -> tuple[str, ...]:
    """The members there."""
    host = urlsplit(server.config.url).hostname
    members = etcd.members if etcd else ()
    return tuple(each.endpoint for each in members if urlsplit(each.endpoint).hostname == host)


def _configured(file: Path) -> Patients:
    try:
        config = load(file, Config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if config.apiservers is None:
        raise click.UsageError(f"{file} names no apiservers: add them there, or name them with --apiserver")
    uses = config.collectors.grpc_stall.uses
    servers = _servers(config.apiservers)
    return Patients([replace(each, members=uses.get(each.name)) for each in servers], config.etcd[0])


def _servers(settings: ApiserversConfig) -> list[Server]:
    cluster = None if settings.kubernetes is None else Kubernetes(settings.kubernetes, agent=_AGENT)
    urls = settings.urls or (apiserver_urls(cluster, timeout=_FIND_SECONDS) if cluster else ())
    through = None if settings.tls or settings.bearer_token_file else cluster
    return [
        Server(HttpConfig(url=url, tls=settings.tls, bearer_token_file=settings.bearer_token_file), through=through)
        for url in urls
    ]
