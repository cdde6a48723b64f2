"""Who may do what: the tokens file.

It holds no secret, only the SHA-256 of each token (``ballastctl token new NAME --role ROLE`` makes one)::

    tokens:
      - name: alertmanager
        role: ingest
        sha256: "<64 hexadecimal digits>"

A token is 256 random bits, so a plain hash is enough: there is nothing to guess.
"""

import hashlib
import hmac
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import structlog
from pydantic import Field, StringConstraints, field_validator

from kube_ballast import configfile
from kube_ballast.config import Model

_log = structlog.get_logger("ballast_remediator.tokens")


class Role(StrEnum):
    """What a token is for."""

    INGEST = "ingest"
    VIEWER = "viewer"
    APPROVER = "approver"
    ADMIN = "admin"


class Right(StrEnum):
    """What a request needs."""

    INGEST = "ingest"
    READ = "read"
    DECIDE = "decide"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType(
    {
        # Whoever may report a fault may not approve the remedy, and the other way round.
        Role.INGEST: frozenset({Right.INGEST}),
        Role.VIEWER: frozenset({Right.READ}),
        Role.APPROVER: frozenset({Right.READ, Right.DECIDE}),
        Role.ADMIN: frozenset({Right.READ, Right.DECIDE}),
    }
)


class Holder(Model):
    """One entry: a person or a machine."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
    role: Role
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    def may(self, right: Right) -> bool:
        """Whether this token is good for that."""
        return right in RIGHTS[self.role]


class TokensFile(Model):
    """The whole file."""

    tokens: tuple[Holder, ...] = Field(min_length=1)

    @field_validator("tokens")
    @classmethod
    def _differ(cls, value: tuple[Holder, ...]) -> tuple[Holder, ...]:
        for what, of in (("name", [holder.name for holder in value]), ("sha256", [holder.sha256 for holder in value])):
            twice = next((item for item in of if of.count(item) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice} stands twice: the audit could not tell who it was")
        return value


_Stamp = tuple[int, int, int]


class Tokens:
    """The tokens of the file at ``path``, as it is now. Thread safe.

    A change takes effect with the next request. A file that cannot be used leaves the last good one in force, is
    logged, and shows in ``problem``.
    """

    def __init__(self, path: Path) -> None:
        """Raises kube_ballast.configfile.ConfigError."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._holders = configfile.load(path, TokensFile).tokens
        self._problem: str | None = None

    def holder(self, token: str) -> Holder | None:
        """Who holds ``token``; takes equally long whichever entry it is."""
        self._renew()
        digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found = None
        for holder in self._holders:
            if hmac.compare_digest(holder.sha256, digest):
                found = holder
        return found

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in force; None while it is."""
        self._renew()
        return self._problem

    def _look(self) -> _Stamp | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _renew(self) -> None:
        if self._look() == self._stamp:
            return
        with self._lock:
            now = self._look()  # before the file is read: what changes meanwhile is seen the next time
            if now == self._stamp:
                return
            self._stamp = now
            try:
                self._holders = configfile.load(self._path, TokensFile).tokens
            except configfile.ConfigError as error:
                self._problem = str(error)
                _log.error("the tokens file cannot be used, the last good one stays in force", reason=str(error))
            else:
                self._problem = None
                _log.info("the tokens file was read anew", tokens=len(self._holders))
