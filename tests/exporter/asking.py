"""Asks a running exporter."""

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]


def get(url: str, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None) -> Answer:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=10) as answer:
            return Answer(answer.status, answer.read().decode(), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(), error.headers)


def values(url: str, name: str, *, by: str = "member") -> dict[str, float]:
    """The samples of one metric by one label."""
    found = re.findall(rf'^{name}{{[^}}]*\b{by}="([^"]*)"[^}}]*}} (\S+)$', get(f"{url}/metrics").text, re.MULTILINE)
    return {label: float(value) for label, value in found}
