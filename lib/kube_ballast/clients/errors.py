"""What can go wrong when another process is asked, in terms a caller can act on.

    ClientError
    ├── Unavailable    nobody answered; nothing was done
    ├── Timeout        no answer in time: the outcome is UNKNOWN, observe before acting again
    ├── Denied         the credentials are not good enough
    ├── BadResponse    an answer came that makes no sense or reports a fault of the server
    ├── Conflict       the world is not in the state that the request needs
    ├── Compacted      the revision asked for is compacted away
    └── NoSpace        etcd refuses writes, its quota is used up

Third-party exceptions never leave ``clients/``: each client maps them to this tree.
"""


class ClientError(Exception):
    """A request to ``target`` failed; the text says how."""

    def __init__(self, target: str, message: str) -> None:
        super().__init__(f"{target}: {message}")
        self.target = target


class Unavailable(ClientError):
    """Nobody answered: the connection was refused, reset or never made. Nothing was done."""


class Timeout(ClientError):
    """No answer within the deadline. Whether the request took effect is unknown."""


class Denied(ClientError):
    """Authentication or authorisation failed."""


class BadResponse(ClientError):
    """The answer cannot be understood or reports a fault of the server."""


class Conflict(ClientError):
    """The server's state does not permit the request, for example a leadership move to a learner."""


class Compacted(ClientError):
    """The revision asked for lies before the last compaction."""


class NoSpace(ClientError):
    """etcd refuses the write: its quota is used up (alarm NOSPACE)."""
