"""How a census is asked for, what it tells on the way, and how it can come to nothing."""

from dataclasses import dataclass, field
from typing import Literal

from kube_ballast.analysis.keyspace import DEFAULT_PREFIX

State = Literal["reading", "waiting", "again"]


class CensusError(Exception):
    """A census came to nothing; its text says why and what helps."""


class Cancelled(CensusError):
    """It was told to stop."""


class Postponed(CensusError):
    """Members were disturbed for longer than it waits."""


class Outrun(CensusError):
    """Each time, the revision was compacted away before the last key was read."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to read at most, in keys and in stored bytes a second.

    An apiserver compacts every five minutes, to where etcd was five minutes before: what is read within five minutes is
    never read twice, and that is a million keys.
    """

    keys: float = 4000.0
    stored: float = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """How a census is made. Seconds, bytes.

    ``prefixes`` are the ``--etcd-prefix`` of each apiserver that uses this etcd. ``whole`` looks outside of them too,
    which needs the right to read everything. ``pace`` None reads as fast as it can, ``parallel`` ranges at a time; each
    more makes etcd's heap grow more.
    ``measure`` bounds the bytes whose sizes are read: with more than that stored, sizes are sampled; None reads all
    sizes, 0 none. ``patience`` is how long it waits for defragmentations and snapshots to end.

    An answer has about ``page_keys`` and ``page_bytes``, and writes wait while etcd makes one: 250 keys of 500 bytes
    take it 0.7 ms and 0.4 MiB of its heap, 2,000 take 7 ms and 3.1 MiB, and enough writes meet those to be the slowest
    hundredth. Many small answers cost more in all, 0.5 ms of both sides each, for whoever is in no hurry.
    """

    prefixes: tuple[str, ...] = (DEFAULT_PREFIX,)
    whole: bool = True
    pace: Pace | None = field(default_factory=Pace)
    parallel: int = 1
    measure: int | None = None
    page_keys: int = 250
    page_bytes: int = 512 * 1024
    attempts: int = 3
    patience: float = 120.0
    look_every: float = 5.0
    timeout: float = 10.0


FAST = Settings(pace=None, parallel=2, page_keys=1400, page_bytes=4 * 1024 * 1024)
"""For somebody who waits. Larger answers, or more at once, are quicker and make etcd's heap grow beyond 150 MiB."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a census is. ``expected`` is how many keys there were last time, None before the first census.

    ``words`` say what is waited for or why it began anew; empty while it reads.
    """

    state: State
    keys: int
    expected: int | None
    stored: int
    member: str
    words: str = ""
