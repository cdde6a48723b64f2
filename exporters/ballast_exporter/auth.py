"""Who may ask: basic authentication against bcrypt hashes, before a body is read.

A bcrypt check takes a tenth of a second of a core, so what was proved once is remembered, as a keyed hash of user,
password and the user's stored hash: a changed file makes it worthless. Only a few checks run at a time; while they do,
further unproved logins are told to come back, and those already proved go on.
"""

import base64
import binascii
import hmac
import secrets
import threading
from collections import OrderedDict
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import bcrypt
import structlog

from ballast_exporter.webconfig import WebConfig, load_web_config
from kube_ballast.configfile import ConfigError
from kube_ballast.wsgi import Answer, Environ

_REMEMBERED = 128
_CHECKS_AT_ONCE = 4
_BCRYPT_MAX_BYTES = 72
_OPEN = frozenset({"/healthz", "/readyz"})
"""A kubelet's probes have no password, and these tell no more than collectors' names."""
_log = structlog.get_logger("ballast_exporter.auth")


class Gate:
    """Admits users of a web configuration; everybody when it names none at the start.

    Reads the file again when it changes. A file that lost all its users looks like one that is just being rewritten,
    so it takes a restart to open what was closed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._stamp()
        self._users = WebConfig().basic_auth_users if path is None else load_web_config(path).basic_auth_users
        self._key = secrets.token_bytes(32)
        self._proved: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        self._checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)
        # An unknown user is checked against this, so that the time taken does not tell who exists.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt(_cost(self._users)))

    def admit(self, environ: Environ) -> Answer | None:
        """A refusal or None."""
        self._reread()
        if not self._users or environ["PATH_INFO"] in _OPEN:
            return None
        user, password = _credentials(environ.get("HTTP_AUTHORIZATION", ""))
        if user is None:
            return _UNAUTHORIZED
        stored = self._users.get(user)
        proof = hmac.digest(self._key, b"\0".join((user.encode(), (stored or "").encode(), password)), sha256)
        if stored is not None and self._remembers(proof):
            return None
        if not self._checks.acquire(blocking=False):
            return _BUSY
        try:
            good = bcrypt.checkpw(password[:_BCRYPT_MAX_BYTES], stored.encode() if stored else self._nobody)
        finally:
            self._checks.release()
        if stored is None or not good:
            return _UNAUTHORIZED
        self._remember(proof)
        return None

    def _remembers(self, proof: bytes) -> bool:
        # The proof is a keyed hash: where it differs from a remembered one tells an attacker nothing.
        with self._lock:
            if proof not in self._proved:
                return False
            self._proved.move_to_end(proof)
            return True

    def _remember(self, proof: bytes) -> None:
        with self._lock:
            self._proved[proof] = None
            while len(self._proved) > _REMEMBERED:
                self._proved.popitem(last=False)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None  # between removal and renaming of the new file
        return None if found is None else (found.st_mtime_ns, found.st_size)

    def _reread(self) -> None:
        stamp = self._stamp()
        if self._path is None or stamp is None or stamp == self._seen:
            return
        with self._lock:
            if stamp == self._seen:
                return
            self._seen = stamp
        try:
            users = load_web_config(self._path).basic_auth_users
        except ConfigError as error:
            _log.error("the changed web configuration is not used", error=str(error))
            return
        if self._users and not users:
            _log.error(
                "the changed web configuration names no users any more: the last ones stay in force; "
                "to admit everybody, restart",
                file=str(self._path),
                users=len(self._users),
            )
            return
        self._users = users
        _log.info("users read again", file=str(self._path), users=len(users))


_UNAUTHORIZED = Answer.text(
    HTTPStatus.UNAUTHORIZED,
    "a user and a password of the web configuration are needed",
    ("WWW-Authenticate", 'Basic realm="ballast-exporter", charset="UTF-8"'),
)
_BUSY = Answer.text(HTTPStatus.TOO_MANY_REQUESTS, "too many logins are being checked", ("Retry-After", "1"))


def _cost(users: dict[str, str]) -> int:
    """The dearest cost among the users' hashes."""
    return max((int(stored[4:6]) for stored in users.values()), default=10)


def _credentials(header: str) -> tuple[str | None, bytes]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else (None, b"")
    except (binascii.Error, UnicodeDecodeError):
        return None, b""
