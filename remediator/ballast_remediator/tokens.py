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
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, StringConstraints, field_validator

from kube_ballast import configfile
from kube_ballast.config import Model


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


class Tokens:
    """The tokens of the file at ``path``, as `configfile.Reloaded` has it. Thread safe."""

    def __init__(self, path: Path) -> None:
        """Raises kube_ballast.configfile.ConfigError."""
        self._file = configfile.Reloaded(path, lambda path: configfile.load(path, TokensFile))

    def holder(self, token: str) -> Holder | None:
        """Who holds ``token``; takes equally long whichever entry it is."""
        digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found = None
        for holder in self._file.current().tokens:
            if hmac.compare_digest(holder.sha256, digest):
                found = holder
        return found

    def may_decide(self, name: str) -> bool:
        """Whether somebody of that name may approve now."""
        return any(one.name == name and one.may(Right.DECIDE) for one in self._file.current().tokens)

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in force; None while it is."""
        return self._file.problem
