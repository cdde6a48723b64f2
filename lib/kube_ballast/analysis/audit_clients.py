"""Who asked for what: an audit event in the six words under which it is counted. Pure.

Source: kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/filters/audit.go, for the stages of a request.
"""

import re
from typing import Final, NamedTuple

from kube_ballast.clients.audit import Event

NODES: Final = "nodes"
UNKNOWN: Final = "(unknown)"
REMEMBERED: Final = 131_072
"""So many of the last events are known again for certain, twice as many at most."""
_NODE_PREFIX: Final = "system:node:"
_ENDS: Final = frozenset({"ResponseComplete", "Panic"})
_LONGEST: Final = 200
_CODES: Final = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


class Key(NamedTuple):
    """What is counted together. ``code`` is a class such as ``2xx``; ``other`` where the event carries no code."""

    client: str
    user_agent: str
    resource: str
    verb: str
    namespace: str
    code: str


class Namer:
    """Gives events their keys.

    A node's user is ``nodes``, or ``nodes:GROUP`` where ``node_group`` is found in the node's name and its first group
    says something. Whatever a client may choose freely is cut at 200 characters.
    """

    def __init__(self, node_group: re.Pattern[str] | None = None) -> None:
        self._node_group = node_group

    def key(self, event: Event) -> Key:
        """The key of an event that is the end of a request."""
        ref, status = event.object_ref, event.response_status
        username = event.user.username
        return Key(
            self._client(username) if username.startswith(_NODE_PREFIX) else _cut(username) or UNKNOWN,
            _product(event.user_agent),
            "" if ref is None else _cut(_resource(ref.resource, ref.subresource, ref.api_group)),
            _cut(event.verb),
            "" if ref is None else _cut(ref.namespace),
            _CODES.get(status.code // 100, "other") if status is not None else "other",
        )

    def _client(self, username: str) -> str:
        found = self._node_group and self._node_group.search(username.removeprefix(_NODE_PREFIX)[:_LONGEST])
        return f"{NODES}:{found[1]}" if found and found[1] else NODES


class Once:
    """Lets each request through once: the event that ends it, at its first coming.

    A watch is counted at its end, as the apiserver's own counters do. The last ``remembered`` events at least are known
    again when an apiserver sends a batch a second time. What tells them apart is audit ID, stage and time of arrival:
    the audit ID alone is chosen by the client (``Audit-ID``), who must not hide behind it.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._new: set[int] = set()
        self._old: set[int] = set()
        self.replays = 0

    def ends(self, event: Event) -> bool:
        """Whether this event is to be counted."""
        if event.stage not in _ENDS:
            return False
        mark = hash((event.audit_id, event.received))
        if mark in self._new or mark in self._old:
            self.replays += 1
            return False
        self._new.add(mark)
        if len(self._new) >= self._remembered:
            self._old, self._new = self._new, set()
        return True


def _resource(resource: str, subresource: str, group: str) -> str:
    name = f"{resource}/{subresource}" if subresource else resource
    return f"{name}.{group}" if group else name


def _product(agent: str) -> str:
    """``kubelet`` of ``kubelet/v1.36.0 (linux/amd64) kubernetes/0123456``."""
    return _cut(agent.partition("/")[0].partition(" ")[0]) or UNKNOWN


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
