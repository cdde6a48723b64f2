"""Every refusal as JSON, ``{"error": words}``, also those that Flask makes itself."""

from typing import Final

from flask import Flask, Response
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge

from ballast_remediator.store.runs import NotPossible
from ballast_remediator.store.writer import StoreUnavailable
from ballast_remediator.web.services import Problem, answer
from kube_ballast.wsgi import Answer

RETRY_SECONDS: Final = 5


def register(app: Flask) -> None:
    """Makes ``app`` speak of its errors like that."""
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(StoreUnavailable, unavailable)
    app.register_error_handler(NotPossible, _not_possible)


def http(error: HTTPException) -> Response:
    """Keeps the headers that belong to an error (``Allow``, ``WWW-Authenticate``), not its page."""
    if isinstance(error.response, Response):
        return error.response
    words = error.description or error.name
    if isinstance(error, RequestEntityTooLarge):
        words = "the body is larger than this remediator accepts (limits.body_bytes in its configuration)"
    if isinstance(error, InternalServerError):
        words = "the remediator failed to answer this; its log says why"
    response = answer(Problem(error=words), error.code or 500)
    for field, value in error.get_headers():
        if field.lower() != "content-type":
            response.headers.add(field, value)
    return response


def invalid(error: ValidationError) -> Response:
    """What does not fit a model of the API."""
    return answer(Problem(error="; ".join(map(_mistake, error.errors(include_url=False)))), 400)


def _mistake(mistake: ErrorDetails) -> str:
    words = mistake["msg"].removeprefix("Value error, ")
    if mistake["loc"]:
        return f"{'.'.join(map(str, mistake['loc']))}: {words}"
    if mistake["type"] == "value_error":
        return words
    return "the body must be a JSON object, sent with 'Content-Type: application/json'"


def unavailable(error: Exception) -> Response:
    """The store does not answer now."""
    response = answer(Problem(error=f"{error}. Send it again"), 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def sent(response: Response) -> Answer:
    """For a server that sends it without Flask."""
    return Answer(response.status_code, tuple(response.headers), response.get_data())


def _not_possible(error: Exception) -> Response:
    return answer(Problem(error=str(error)), 409)
