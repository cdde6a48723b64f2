"""``--web.config.file`` in exporter-toolkit's format: TLS, and users with bcrypt hashes.

    tls_server_config:
      cert_file: server.crt
      key_file: server.key
      client_auth_type: RequireAndVerifyClientCert    # or NoClientCert, the default
      client_ca_file: clients.crt
      min_version: TLS12                              # the default, or TLS13
    basic_auth_users:
      prometheus: $2y$10$...

Paths are taken from this file's folder. What the format knows and we cannot do is refused with the reason, since a
server that is more open than its configuration says is worse than one that does not start.
Source: exporter-toolkit, docs/web-configuration.md.
"""

import re
import ssl
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kube_ballast.config import Model
from kube_ballast.configfile import ConfigError, Problem, load
from kube_ballast.wsgi import ServerTLS

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1\d|2\d|3[01])\$[./A-Za-z0-9]{53}")
_UNSUPPORTED = {
    "http_server_config": "HTTP/2 and response headers cannot be configured here; HTTP/1.1 is spoken",
    "rate_limit": "rate limits are not supported; put a proxy in front",
}
_UNSUPPORTED_TLS = {
    "max_version": "is not supported; TLS 1.3 is always offered",
    "cipher_suites": "is not supported; only modern suites are offered",
    "prefer_server_cipher_suites": "is not supported; only modern suites are offered",
    "curve_preferences": "is not supported",
    "client_allowed_sans": "is not supported; restrict what client_ca_file signs",
    "cert": "is not supported inline; use cert_file",
    "key": "is not supported inline; use key_file",
    "key_ref": "is not supported; use key_file",
    "cert_ref": "is not supported; use cert_file",
}


def _hash(value: str) -> str:
    if not _BCRYPT.fullmatch(value):
        raise ValueError("is no bcrypt hash; make one with: htpasswd -nBC 10 '' | tr -d ':\\n'")
    return value


class TLSServerConfig(Model):
    """The server's side of TLS."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth_type: Literal["", "NoClientCert", "RequireAndVerifyClientCert"] = ""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, value: object) -> object:
        return _refuse(value, _UNSUPPORTED_TLS)

    @model_validator(mode="after")
    def _client_certificates(self) -> Self:
        if (self.client_auth_type == "RequireAndVerifyClientCert") != (self.client_ca_file is not None):
            raise ValueError("client_auth_type RequireAndVerifyClientCert and client_ca_file belong together")
        return self


class WebConfig(Model):
    """The whole file."""

    tls_server_config: TLSServerConfig | None = None
    basic_auth_users: dict[str, Annotated[str, AfterValidator(_hash)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, value: object) -> object:
        return _refuse(value, _UNSUPPORTED)


def _refuse(value: object, unsupported: dict[str, str]) -> object:
    if isinstance(value, dict):
        found = [f"{key}: {reason}" for key, reason in unsupported.items() if key in value]
        if found:
            raise ValueError("; ".join(found))
    return value


def load_web_config(path: Path) -> WebConfig:
    """The file at ``path``, with paths made absolute.

    Raises:
        ConfigError: it cannot be read, does not fit, or names a file that cannot be read.
    """
    if _is_empty(path):
        return WebConfig()  # exporter-toolkit takes an empty file for "no TLS, no users"
    config = load(path, WebConfig)
    if config.tls_server_config is None:
        return config
    files = {}
    for key in ("cert_file", "key_file", "client_ca_file"):
        file = getattr(config.tls_server_config, key)
        if file is not None:
            files[key] = path.parent / file
            if not files[key].is_file():
                raise ConfigError((Problem(path, _line_of(path, key), f"{key}: there is no file {files[key]}"),))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files["cert_file"], files["key_file"])
    except OSError as error:  # ssl.SSLError is one
        reason = f"cert_file and key_file cannot be used: {error.strerror or error}"
        raise ConfigError((Problem(path, _line_of(path, "cert_file"), reason),)) from error
    return config.model_copy(update={"tls_server_config": config.tls_server_config.model_copy(update=files)})


def server_tls(config: WebConfig) -> ServerTLS | None:
    """What the server needs; None for plain HTTP."""
    tls = config.tls_server_config
    if tls is None:
        return None
    version: Literal["1.2", "1.3"] = "1.3" if tls.min_version == "TLS13" else "1.2"
    return ServerTLS(tls.cert_file, tls.key_file, tls.client_ca_file, version)


def _is_empty(path: Path) -> bool:
    try:
        return not path.read_bytes().strip()
    except OSError:
        return False  # reading it as a configuration says why


def _line_of(path: Path, key: str) -> int | None:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:")), None)
