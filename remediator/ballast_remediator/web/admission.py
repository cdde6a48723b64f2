"""What a request is refused for before its body is read, or because of how the body arrives."""

from collections.abc import Callable
from http import HTTPStatus

from flask import Flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, default_exceptions

from ballast_remediator.web import errors
from ballast_remediator.web.access import HOLDER, INGEST_PATH, authorize
from ballast_remediator.web.services import Services, attached
from kube_ballast.wsgi import Answer, Environ


def admission(app: Flask, *, body_bytes: int) -> Callable[[Environ], Answer | None]:
    """For `kube_ballast.wsgi.Service.admit`: refuses who may not ask ``app``, and what says that it is too large."""
    services = attached(app)

    def admit(environ: Environ) -> Answer | None:
        try:
            environ[HOLDER] = authorize(services.tokens, environ)
            if int(environ.get("CONTENT_LENGTH") or 0) > body_bytes:
                raise RequestEntityTooLarge
        except HTTPException as refusal:
            return _counted(services, environ, refusal)
        return None

    return admit


def refusal(app: Flask) -> Callable[[Environ, HTTPStatus, str], Answer]:
    """For `kube_ballast.wsgi.Service.refused`: bodies that turn out too large or come too late, as ``app`` refuses."""
    services = attached(app)

    def refused(environ: Environ, status: HTTPStatus, reason: str) -> Answer:
        return _counted(services, environ, default_exceptions[status](reason))

    return refused


def _counted(services: Services, environ: Environ, error: HTTPException) -> Answer:
    response = errors.http(error)
    if environ["PATH_INFO"] == INGEST_PATH:
        services.metrics.refused(response.status_code)
    return errors.sent(response)
