"""Sends notices to people's webhook: what an answer means, and when to try again."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ballast_remediator.config import NoticesConfig
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.http import HttpClient

PAUSES: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0, 600.0, 600.0)
"""Seconds between the tries of one notice: about an hour in all. After the last one it is given up."""
_AGAIN_ALTHOUGH_REFUSED: Final = (408, 429)


class NotTaken(Exception):
    """The receiver did not take a notice; the text says why and holds no secret. ``final``: it never will."""

    def __init__(self, words: str, *, final: bool = False) -> None:
        super().__init__(words)
        self.final = final


class Receiver:
    """The webhook of the configuration. Credentials are read for each notice, so that renewed ones take effect."""

    def __init__(self, config: NoticesConfig) -> None:
        self._http = HttpClient(config)
        self._timeout = config.timeout
        self._path = urlsplit(config.url).path

    def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        """Returns once the receiver has said that it has it (2xx). Takes the configured timeout at most.

        The id goes with it as ``Idempotency-Key``: the same notice may come twice, and is the same by that.

        Raises:
            NotTaken: it has not, or did not say so.
        """
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Idempotency-Key": notice_id}
        try:
            status = self._http.request(
                "POST", "", body=content, headers=headers, timeout=self._timeout, limit=0
            ).status
        except ClientError as error:
            raise NotTaken(self._without_path(error.message)) from error
        if status in range(200, 300):
            return
        if status in range(300, 400):
            raise NotTaken(
                f"the receiver answered {status}, a redirect, which is not followed: configure where it leads"
            )
        refused = status in range(400, 500) and status not in _AGAIN_ALTHOUGH_REFUSED
        raise NotTaken(f"the receiver answered {status}", final=refused)

    def _without_path(self, words: str) -> str:
        """The path of a webhook often is its secret."""
        return words if self._path in {"", "/"} else words.replace(self._path, "/…")
