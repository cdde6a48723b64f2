"""Who may ask what. One rule for every path, so that a new one is closed until somebody opens it."""

from collections.abc import Mapping
from typing import Any, Final

from flask import g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, Unauthorized

from ballast_remediator.tokens import Holder, Right, Tokens
from ballast_remediator.web.services import services

HOLDER: Final = "ballast.holder"
"""The environ's entry for who sends the request. No header can set it: those get a name that begins with HTTP_."""
INGEST_PATH: Final = "/api/v1/alertmanager"
EXPLAIN_PATH: Final = "/api/v1/explain"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
"""They tell nothing of alerts, clusters or people, and probes and scrapers rarely have credentials."""


def authorize(tokens: Tokens, environ: Mapping[str, Any]) -> Holder | None:
    """Who sends the request; None where nobody has to be known. Reads no body.

    Raises:
        Unauthorized: no token, or an unknown one.
        Forbidden: the token's role is not good for it.
    """
    path = environ["PATH_INFO"]
    if path in OPEN_PATHS:
        return None
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("a token is needed: send it as 'Authorization: Bearer TOKEN'")
    holder = tokens.holder(token.strip())
    if holder is None:
        raise _unauthorized("the tokens file has no entry for this token")
    right = _needed(environ["REQUEST_METHOD"], path)
    if not holder.may(right):
        raise Forbidden(f"{holder.name}'s token has the role {holder.role}, which is not good to {_WORDS[right]}")
    return holder


def before_request() -> None:
    """Holds the rule for every request of an application, unless admission has held it already."""
    environ = request.environ
    if "\x00" in environ["PATH_INFO"] or "%00" in environ["QUERY_STRING"]:
        raise BadRequest("NUL is no character of any name here")
    g.holder = environ[HOLDER] if HOLDER in environ else authorize(services().tokens, environ)


def person() -> str:
    """The name on the token of the present request."""
    return str(g.holder.name)


_WORDS: Final = {
    Right.INGEST: "send notifications: that takes a token of its own, with the role ingest",
    Right.READ: "read: that takes viewer, approver or admin",
    Right.DECIDE: "decide: that takes approver or admin",
}


def _needed(method: str, path: str) -> Right:
    if path == INGEST_PATH:
        return Right.INGEST
    if path == EXPLAIN_PATH:  # a POST only because an alert does not fit into a URL
        return Right.READ
    return Right.READ if method in {"GET", "HEAD", "OPTIONS"} else Right.DECIDE


def _unauthorized(words: str) -> Unauthorized:
    return Unauthorized(words, www_authenticate=WWWAuthenticate("bearer", {"realm": "ballast-remediator"}))
