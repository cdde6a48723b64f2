"""What a request is refused for before a byte of its body is read."""

from collections.abc import Callable

from flask import Flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from ballast_remediator.web import errors
from ballast_remediator.web.access import HOLDER, INGEST_PATH, authorize
from ballast_remediator.web.services import attached
from kube_ballast.wsgi import Answer, Environ


def admission(app: Flask, *, body_bytes: int) -> Callable[[Environ], Answer | None]:
    """For `kube_ballast.wsgi.Service`: refuses who may not ask ``app``, and what says that it is too large."""
    services = attached(app)

    def admit(environ: Environ) -> Answer | None:
        try:
            environ[HOLDER] = authorize(services.tokens, environ)
            if int(environ.get("CONTENT_LENGTH") or 0) > body_bytes:
                raise RequestEntityTooLarge
        except HTTPException as refusal:
            response = errors.http(refusal)
            if environ["PATH_INFO"] == INGEST_PATH:
                services.metrics.refused(response.status_code)
            return Answer(response.status_code, tuple(response.headers), response.get_data())
        return None

    return admit
