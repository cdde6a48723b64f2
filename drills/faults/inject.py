"""Does to a place what a point says, and undoes it."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from drills.faults.effects import What, parsed
from drills.faults.load import Load, Pair, wait
from drills.faults.place import Place, Replica
from drills.faults.points import Fault, Point
from drills.faults.power import lose
from drills.faults.real import LABELS
from drills.stack import Component
from drills.stack.faketime import Clock
from drills.stack.families import descendants
from drills.stack.process import tool
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.remediator import Remediator
from kube_ballast.config import HttpConfig

AIM_WITHIN: Final = 1.2
ETCD_WITHIN: Final = 15.0
POLL: Final = 0.02
PROMISES: Final = 3
PROMISES_WITHIN: Final = 5.0
DELAY: Final = "300ms"
"""What a slow disk takes for each sync."""
TIMEOUT: Final = 3.0
STOP_WITHIN: Final = 15.0


class Skipped(Exception):
    """This machine does not allow a fault; the text says why."""


class Injector:
    """Carries points out. Thread safe: points that touch the same thing wait for each other."""

    def __init__(self, place: Place, load: Load, pair: Pair | None, *, aim_within: float = AIM_WITHIN) -> None:
        """``aim_within`` is for how many seconds the kind of step that a point aims at is waited for."""
        self.place = place
        self.load = load
        self.pair = pair
        self._aim_within = aim_within
        self.server = threading.Lock()
        self.alertmanagers = threading.Lock()
        self.replicas = [threading.Lock() for _ in place.replicas]
        self.etcd = threading.Lock()

    def carry_out(self, point: Point) -> None:
        """Waits for the point's moment, does it, undoes it, and waits until whoever it was done to works again.

        Raises:
            Skipped: this machine does not allow it.
            StackError: something does not come back.
        """
        _DOES[point.fault](self, point)

    def replica(self, point: Point) -> Replica:
        return self.place.replicas[point.replica]

    def wait_for(self, point: Point) -> None:
        """Until a step of the kind that is aimed at has begun (not for ever), and the offset has passed."""
        if point.aim is not None:
            with self.place.effects.open("rb") as file:
                file.seek(0, os.SEEK_END)
                give_up = time.monotonic() + self._aim_within
                while time.monotonic() < give_up and not self._began(file.readlines(), point):
                    time.sleep(POLL)
        wait(point.offset)

    def wait_for_promises(self) -> None:
        """Until a few more posts were accepted (not for ever): what a lost disk would lose."""
        before = len(self.load.promises.accepted)
        give_up = time.monotonic() + PROMISES_WITHIN
        while len(self.load.promises.accepted) < before + PROMISES and time.monotonic() < give_up:
            time.sleep(POLL)

    def _began(self, lines: list[bytes], point: Point) -> bool:
        found = parsed(b"".join(line for line in lines if line.endswith(b"\n")))
        mine = str(point.replica)
        return any(one.what is What.BEGAN and one.kind == point.aim and one.replica == mine for one in found)


def _kill(how: Callable[[Replica], None]) -> Callable[[Injector, Point], None]:
    def do(injector: Injector, point: Point) -> None:
        with injector.replicas[point.replica]:
            injector.wait_for(point)
            how(injector.replica(point))
            injector.replica(point).bring_back()

    return do


def _kill_all(replica: Replica) -> None:
    replica.process.kill()


def _restart(replica: Replica) -> None:
    replica.process.stop(within=STOP_WITHIN)


def _pause(injector: Injector, point: Point) -> None:
    with injector.replicas[point.replica]:
        injector.wait_for(point)
        injector.replica(point).process.pause()
        wait(point.lasts)
        injector.replica(point).bring_back()


def _rolling(injector: Injector, point: Point) -> None:
    wait(point.offset)
    for lock, replica in zip(injector.replicas, injector.place.replicas, strict=True):
        with lock:
            _restart(replica)
            replica.bring_back()


def _disk_full(injector: Injector, point: Point) -> None:
    if not injector.place.disk.small:
        raise Skipped("only root may mount a small disk")
    with injector.server:
        injector.wait_for(point)
        try:
            injector.place.disk.fill()
            wait(point.lasts)
        finally:
            injector.place.disk.empty()
        _server_back(injector)


def _disk_slow(injector: Injector, point: Point) -> None:
    """strace delays each sync, of the server's processes or of the replica's."""
    with injector.server, injector.replicas[point.replica]:
        injector.wait_for(point)
        server = injector.place.server
        everybody = (
            injector.replica(point).pids if server is None else (server.process.pid, *descendants(server.process.pid))
        )
        slow = Component(
            name=f"slow-{point.number}",
            program=tool("strace"),
            arguments=(
                *("--follow-forks", "--quiet=all", "--output=/dev/null", "--trace=fdatasync,fsync"),
                f"--inject=fdatasync,fsync:delay_enter={DELAY}",
                *(f"--attach={each}" for each in everybody),
            ),
            ready=lambda: None,
        )
        (process,) = injector.place.stack.run(slow)
        wait(point.lasts)
        process.stop()


def _clock(injector: Injector, point: Point) -> None:
    _set(injector.replica(point).clock, injector.replicas[point.replica], injector, point)


def _server_clock(injector: Injector, point: Point) -> None:
    _set(injector.place.server_clock, injector.server, injector, point)


def _set(clock: Clock, lock: threading.Lock, injector: Injector, point: Point) -> None:
    """Sets a clock for a while, alone with whatever goes by it."""
    if not clock.settable:
        raise Skipped("libfaketime is not here")
    with lock:
        injector.wait_for(point)
        try:
            clock.set(point.jump)
            wait(point.lasts)
        finally:
            clock.set(0.0)


def _power_cut(injector: Injector, point: Point) -> None:
    """The replica works under strace for a while, then all of it is gone, and so is what it had not synced."""
    with injector.server, injector.replicas[point.replica]:
        replica = injector.replica(point)
        _restart(replica)
        replica.trace.unlink(missing_ok=True)
        replica.traced.start()
        try:
            replica.traced.wait_ready()
            injector.wait_for(point)
            injector.wait_for_promises()
        finally:
            replica.traced.kill()
        lose(replica.trace, injector.place.disk.folder / "remediator.db")
        replica.bring_back()


def _alertmanager(injector: Injector, point: Point) -> None:
    assert injector.pair is not None, "only a real place has Alertmanagers"
    with injector.alertmanagers:
        for _ in range(3):
            injector.pair.alert(injector.load.promises)
        wait(point.offset / 4)  # it waits 50 ms, then it sends
        injector.pair.kill(point.number, point.lasts / 2)


def _etcd(injector: Injector, point: Point) -> None:
    """A real run under way on an etcd that is full; every replica is killed, since any may carry it out."""
    assert injector.place.surroundings is not None, "only a real place has an etcd"
    with injector.etcd:
        injector.place.surroundings.fill()
        injector.load.post({"alertname": "EtcdFreeSpaceNeeded", **LABELS}, point.replica)
        give_up = time.monotonic() + ETCD_WITHIN
        while not _has_begun(injector, point) and time.monotonic() < give_up:
            time.sleep(POLL)
        wait(point.offset)
        for lock, replica in zip(injector.replicas, injector.place.replicas, strict=True):
            with lock:
                replica.process.kill()
                replica.bring_back()


def _has_begun(injector: Injector, point: Point) -> bool:
    with suppress(ClientError):
        viewer = Remediator(
            HttpConfig(url=injector.replica(point).url, bearer_token_file=injector.place.token("viewer"))
        )
        for summary in viewer.runs(limit=20, timeout=TIMEOUT):
            if summary.runbook == LABELS["ballast_runbook"] and summary.finished_at is None:
                run = viewer.run(summary.id, timeout=TIMEOUT)
                return any(step.kind == point.aim and step.intended_at is not None for step in run.steps)
    return False


def _server(how: Callable[[Injector, Point], None]) -> Callable[[Injector, Point], None]:
    def do(injector: Injector, point: Point) -> None:
        with injector.server:
            injector.wait_for(point)
            how(injector, point)
            _server_back(injector)

    return do


def _fast(injector: Injector, _: Point) -> None:
    assert injector.place.server is not None
    injector.place.server.restart()


def _immediate(injector: Injector, _: Point) -> None:
    assert injector.place.server is not None
    injector.place.server.restart(immediate=True)


def _server_paused(injector: Injector, point: Point) -> None:
    assert injector.place.server is not None
    injector.place.server.pause()
    wait(point.lasts)
    injector.place.server.resume()


def _server_killed(injector: Injector, _: Point) -> None:
    assert injector.place.server is not None
    injector.wait_for_promises()
    injector.place.server.kill()
    injector.place.server.restart()


def _server_back(injector: Injector) -> None:
    """A PostgreSQL that ended by itself is started again."""
    server = injector.place.server
    if server is not None and not server.process.running:
        server.restart()


_DOES: Final[Mapping[Fault, Callable[[Injector, Point], None]]] = MappingProxyType(
    {
        Fault.KILL_WORKER: _kill(Replica.kill_worker),
        Fault.KILL_SUPERVISOR: _kill(Replica.kill_supervisor),
        Fault.KILL_ALL: _kill(_kill_all),
        Fault.RESTART: _kill(_restart),
        Fault.PAUSE: _pause,
        Fault.BLINK: _pause,
        Fault.ROLLING: _rolling,
        Fault.DISK_FULL: _disk_full,
        Fault.DISK_SLOW: _disk_slow,
        Fault.CLOCK: _clock,
        Fault.POWER_CUT: _power_cut,
        Fault.ALERTMANAGER: _alertmanager,
        Fault.ETCD: _etcd,
        Fault.SERVER_FAST: _server(_fast),
        Fault.SERVER_IMMEDIATE: _server(_immediate),
        Fault.SERVER_PAUSED: _server(_server_paused),
        Fault.SERVER_KILLED: _server(_server_killed),
        Fault.SERVER_CLOCK: _server_clock,
    }
)
