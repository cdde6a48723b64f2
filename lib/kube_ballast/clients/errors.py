"""What can go wrong when another process is asked, in terms a caller can act on.

    ClientError
    ├── Unavailable    nobody answered or the server turned the request away; nothing was done
    ├── Timeout        no answer in time: the outcome is UNKNOWN, observe before acting again
    ├── Denied         the credentials are not good enough, or cannot be read
    ├── BadResponse    an answer came that makes no sense or reports a fault of the server
    ├── Conflict       the world is not in the state that the request needs
    ├── Compacted      the revision asked for is compacted away
    ├── NoSpace        etcd refuses writes, its quota is used up
    └── LocalDisk      the answer came, this machine could not store it

A connection that breaks after a request was sent says nothing about what the server did with it. Where the request
changes something, that is a ``Timeout`` too, whatever it looked like on the wire: only what never reached the server,
or what the server says it turned away before it began, is ``Unavailable``. A read that breaks off is ``Unavailable``:
it has no outcome that could be unknown. So after a ``Timeout`` of a call that acts, look at the world first (is the
alarm still armed, is a defragmentation in flight?), and repeat only what is seen not to have happened.

Third-party exceptions never leave ``clients/``: each client maps them to this tree.
"""


class ClientError(Exception):
    """A request to ``target`` failed; the text says how.

    ``unsent`` is True where there is known to have been no connection to send it on.
    """

    unsent = False

    def __init__(self, target: str, message: str) -> None:
        super().__init__(f"{target}: {message}")
        self.target = target
        self.message = message


class Unavailable(ClientError):
    """Nobody answered, or the server turned the request away before it began. Nothing was done."""


class Timeout(ClientError):
    """No answer within the deadline, or none at all to what was sent: it is unknown whether it took effect."""


class Denied(ClientError):
    """Authentication or authorisation failed, or a file that holds a credential cannot be read."""


class BadResponse(ClientError):
    """The answer cannot be understood or reports a fault of the server."""


class Conflict(ClientError):
    """The server's state does not permit the request, for example a leadership move to a learner."""


class Compacted(ClientError):
    """The revision asked for lies before the last compaction."""


class NoSpace(ClientError):
    """etcd refuses the write: its quota is used up (alarm NOSPACE)."""


class LocalDisk(ClientError):
    """What the server sent could not be stored here; ``target`` is the path."""
