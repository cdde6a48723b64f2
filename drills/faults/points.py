"""What is done at each point: it follows from the seed and the point's number alone, so any point can be repeated."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from drills.faults.generated import WEIGHTS

REPLICAS: Final = 3
LEASE: Final = 2.0
"""Seconds of the engine's lease in the drill."""


class StoreKind(StrEnum):
    """Which store a point is on."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Fault(StrEnum):
    """What is done to whom; the words stand in the table."""

    KILL_WORKER = "kill -9 of the worker"
    KILL_SUPERVISOR = "kill -9 of the supervisor"
    KILL_ALL = "kill -9 of both"
    PAUSE = "SIGSTOP for longer than the lease"
    BLINK = "SIGSTOP for less than the lease"
    RESTART = "SIGTERM and restart"
    ROLLING = "rolling restart of all replicas"
    DISK_FULL = "the store's disk full"
    DISK_SLOW = "the store's disk slow"
    CLOCK = "clock of a replica set"
    POWER_CUT = "power cut"
    ALERTMANAGER = "one Alertmanager of a pair killed"
    ETCD = "kill -9 in a run on a real etcd"
    SERVER_FAST = "PostgreSQL restarted, fast"
    SERVER_IMMEDIATE = "PostgreSQL restarted, immediate"
    SERVER_PAUSED = "PostgreSQL paused"
    SERVER_KILLED = "kill -9 of all of PostgreSQL"
    SERVER_CLOCK = "clock of PostgreSQL set"


_ON_ANY: Final[Mapping[Fault, int]] = {
    Fault.KILL_WORKER: 14,
    Fault.KILL_SUPERVISOR: 8,
    Fault.KILL_ALL: 8,
    Fault.RESTART: 8,
    Fault.BLINK: 3,
    Fault.DISK_FULL: 6,
    Fault.DISK_SLOW: 4,
    Fault.CLOCK: 6,
    Fault.ALERTMANAGER: 4,
    Fault.ETCD: 3,
}
WEIGHT: Final[Mapping[StoreKind, Mapping[Fault, int]]] = MappingProxyType(
    {
        StoreKind.SQLITE: {**_ON_ANY, Fault.PAUSE: 4, Fault.POWER_CUT: 5},
        StoreKind.POSTGRESQL: {
            **_ON_ANY,
            Fault.PAUSE: 18,
            Fault.ROLLING: 2,
            Fault.SERVER_FAST: 4,
            Fault.SERVER_IMMEDIATE: 4,
            Fault.SERVER_PAUSED: 4,
            Fault.SERVER_KILLED: 6,
            Fault.SERVER_CLOCK: 4,
        },
    }
)
AIMS: Final = tuple(kind for kind in WEIGHTS if kind != "already")
ETCD_AIMS: Final = ("snapshot", "compact", "defragment", "disarm", "test-write", "watch-alarm")
JUMP: Final = 14.0
"""Seconds by which a clock is set at most: twice this still leaves the guard `clock_is_steady` calm."""


@dataclass(frozen=True, slots=True)
class Point:
    """One fault. Times are seconds."""

    number: int
    fault: Fault
    replica: int
    aim: str | None
    """The kind of step that has to have begun a moment ago; None for any moment."""
    offset: float
    """How long after that, or after its turn came."""
    lasts: float
    """Of what lasts: how long."""
    jump: float
    """Of a clock that is set: by how much."""


def draw(seed: int, number: int, store: StoreKind) -> Point:
    """The point of that number."""
    chance = random.Random(f"{seed}/{store}/{number}")  # noqa: S311 - moments, no secrets
    faults = WEIGHT[store]
    fault = chance.choices(tuple(faults), weights=tuple(faults.values()))[0]
    aims = ETCD_AIMS if fault is Fault.ETCD else (None, *AIMS)
    aim = chance.choice(aims)
    longest = LEASE * 0.8 if fault is Fault.BLINK else LEASE * 2
    least = 0.2 if fault is Fault.BLINK else LEASE * 1.3
    return Point(
        number=number,
        fault=fault,
        replica=chance.randrange(REPLICAS if store is StoreKind.POSTGRESQL else 1),
        aim=aim,
        offset=chance.uniform(0.0, 0.6 if aim is None else 0.3),
        lasts=chance.uniform(least, longest),
        jump=chance.choice((-1, 1)) * chance.uniform(LEASE, JUMP),
    )
