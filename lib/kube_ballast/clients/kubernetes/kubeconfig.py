"""Reads kubeconfigs with the `kubernetes` package: contexts, tokens, exec plugins, OIDC."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kube_ballast.clients.errors import Denied
from kube_ballast.clients.kubernetes.access import Access

_MISTAKES = (ConfigException, YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError)
_SKEW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a kubeconfig gives. ``lasts_seconds`` is what a plugin's credentials are good for, None for all others."""

    access: Access
    lasts_seconds: float | None


def load(path: Path, context: str | None) -> Loaded:
    """Read the kubeconfig and run its plugin, if it names one; None is its own current context.

    Raises:
        Denied: it cannot be read, or gives no credentials, or asks for what is not supported here.
    """
    # The package writes certificates and keys that stand in the kubeconfig itself to files: they end here.
    with TemporaryDirectory(prefix="ballast-") as folder:
        try:
            return _load(path, context, folder)
        except _MISTAKES as error:
            raise _denied(path, str(error) or type(error).__name__) from error


def _load(path: Path, context: str | None, folder: str) -> Loaded:
    content = YAML(typ="safe", pure=True).load(path)
    if not isinstance(content, dict):
        raise _denied(path, "it holds no mapping")
    loader = KubeConfigLoader(  # type: ignore[no-untyped-call]  # the package has no types
        content, active_context=context, config_base_path=str(path.parent), temp_file_path=folder
    )
    said = Configuration()
    loader.load_and_set(said)  # type: ignore[no-untyped-call]  # the package has no types
    if not said.verify_ssl:
        raise _denied(path, "insecure-skip-tls-verify is not supported: name the certificate-authority")
    if getattr(loader, "proxy", None):
        raise _denied(path, "proxy-url is not supported: run this where the apiserver can be reached directly")
    user = loader._user  # noqa: SLF001 - the package logs a plugin's failure and goes on without credentials
    if user is not None and "exec" in user and not (said.api_key or said.cert_file):
        raise _denied(path, f"its plugin `{user['exec'].safe_get('command')}` gave no credentials; run it by hand")
    access = Access(
        url=said.host,
        context=_context(said),
        server_name=said.tls_server_name or urlsplit(said.host).hostname or "",
        authorization=said.api_key.get("BearerToken", "").strip() or None,
    )
    return Loaded(access, _lasts(loader))


def _context(said: Configuration) -> ssl.SSLContext | None:
    if urlsplit(said.host).scheme != "https":
        return None
    context = ssl.create_default_context(cafile=said.ssl_ca_cert)
    if said.cert_file:
        context.load_cert_chain(said.cert_file, said.key_file)
    return context


def _lasts(loader: KubeConfigLoader) -> float | None:
    """Seconds from now; a plugin that says nothing about it is asked again like any file is read again."""
    expiry = getattr(loader, "expiry", None)
    if not isinstance(expiry, datetime):
        return None
    return max(0.0, (expiry - datetime.now(tz=UTC)).total_seconds() - _SKEW_SECONDS)


def _denied(path: Path, why: str) -> Denied:
    return Denied(str(path), f"nothing was sent: the kubeconfig cannot be used: {why}")
