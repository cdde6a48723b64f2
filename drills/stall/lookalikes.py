"""What looks like a stalled channel and is none, made on real components, and what may be said of the apiservers then.

`ok` and `unknown` may always be said; what else may stands here with its reason.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from drills.filling import client
from drills.stack.process import Component, tool
from drills.stall.crowd import CONFIGMAPS, half_asked, listing, repeatedly
from drills.stall.ground import Ground
from drills.stall.watch import BLAMELESS
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.errors import ClientError

Names = frozenset[Verdict]
DISK_SECONDS: Final = 0.2
DEFRAGMENTED_SECONDS: Final = 1.0
"""A member that stands still for less is none that looks sick."""
STOPPED_SECONDS, EACH_SECONDS = 10.0, 12.0
JUMPS_SECONDS: Final = (3600.0, 0.0, -3600.0, 0.0)
CALL_SECONDS: Final = 60.0
NOBODY: Final[Names] = frozenset()
WELL: Final = "nothing is wrong on the way to etcd"
MEMBER: Final[Names] = frozenset({Verdict.ETCD_MEMBER_BAD, Verdict.ETCD_SLOW})
DOWN: Final = frozenset({Verdict.DOWN})


class NotMade(Exception):
    """What was to look like a fault did not happen, in words."""


@dataclass(frozen=True, slots=True)
class Lookalike:
    """``during`` disturbs for the length of a block; ``first`` and ``other`` are the names that are right."""

    name: str
    during: Callable[[Ground], Iterator[None]]
    first: Names = NOBODY
    other: Names = NOBODY
    why: str = WELL
    shared: Names = NOBODY
    """Right for both where both use all members."""
    least: float = 0.0
    """Processors that the first apiserver has to use, on average."""
    audited: bool = False
    """Whether it needs the webhook, for which every request of every apiserver waits."""

    def allowed(self, ground: Ground) -> tuple[Names, Names]:
        """What may be said of either."""
        more = BLAMELESS | (self.shared if ground.shared else NOBODY)
        return self.first | more, self.other | more


def _busy(ground: Ground) -> Iterator[None]:
    with repeatedly(listing(ground.admin(), f"{CONFIGMAPS.path}?resourceVersion=0"), times=8):
        yield


def _long_lists(ground: Ground) -> Iterator[None]:
    with repeatedly(listing(ground.admin(), CONFIGMAPS.path, wait=0.3), times=24):
        yield


def _slow_scrape(ground: Ground) -> Iterator[None]:
    """Of the exporter by its clients, and of the apiserver by somebody."""
    slowly = listing(ground.admin(), "/metrics", wait=1.0)
    with half_asked(ground.exporter.url, times=20), repeatedly(slowly, times=8):
        yield


def _slow_disks(ground: Ground) -> Iterator[None]:
    attached = [f"--attach={member.pid}" for member in ground.etcd.members]
    delay = ("--trace=fdatasync", f"--inject=fdatasync:delay_enter={DISK_SECONDS * 1000:.0f}ms")
    quietly = ("--follow-forks", "--quiet=all", "--output=/dev/null")
    with client(ground.etcd) as etcd:

        def slow() -> str | None:
            began = time.monotonic()
            with suppress(ClientError):  # too slow for etcd itself
                etcd.put(b"/drill/slow", b"", timeout=CALL_SECONDS)
            took = time.monotonic() - began
            return None if took >= DISK_SECONDS else f"a write takes {took:.2f} s"

        arguments = (*quietly, *delay, *attached)
        (process,) = ground.stack.run(
            Component(name="slow-disks", program=tool("strace"), arguments=arguments, ready=slow)
        )
    yield
    lasted = process.running
    process.stop()
    if not lasted:
        raise NotMade(f"strace ended before its time.{process.tail()}")


def _exporter_stopped(ground: Ground) -> Iterator[None]:
    def act(stop: threading.Event) -> None:
        ground.exporter.process.pause()
        time.sleep(STOPPED_SECONDS)  # its end is what is looked at, also when the drill ends meanwhile
        ground.exporter.process.resume()
        stop.wait(EACH_SECONDS)

    with repeatedly(act):
        yield


def _clock_jumps(ground: Ground) -> Iterator[None]:
    if not ground.clock.settable:
        raise SystemExit("libfaketime is missing: run `make tools`")

    def act(stop: threading.Event) -> None:
        for ahead in JUMPS_SECONDS:
            ground.clock.set(ahead)
            if stop.wait(EACH_SECONDS):
                break

    with repeatedly(act):
        yield
    ground.clock.set(0.0)


def _member_down(number: int) -> Callable[[Ground], Iterator[None]]:
    def during(ground: Ground) -> Iterator[None]:
        ground.etcd.members[number].kill()
        yield
        ground.etcd.members[number].restart()

    return during


def _leader_changes(ground: Ground) -> Iterator[None]:
    with ExitStack() as exits:
        members = [exits.enter_context(client(ground.etcd, number)) for number in range(3)]
        ids = [each.status(timeout=CALL_SECONDS).member_id for each in members]
        moved = threading.Event()

        def act(stop: threading.Event) -> None:
            with suppress(ClientError):  # an election is under way
                leader = members[0].status(timeout=CALL_SECONDS).leader_id
                if leader in ids:  # at times nobody leads
                    number = ids.index(leader)
                    members[number].move_leader(ids[(number + 1) % 3], timeout=CALL_SECONDS)
                    moved.set()
            stop.wait(EACH_SECONDS)

        with repeatedly(act):
            yield
    if not moved.is_set():
        raise NotMade("the leader never changed")


def _defragmented(ground: Ground) -> Iterator[None]:
    with ExitStack() as exits:
        members = [exits.enter_context(client(ground.etcd, number)) for number in range(3)]
        longest = 0.0

        def act(stop: threading.Event) -> None:
            nonlocal longest
            for each in members:
                began = time.monotonic()
                each.defragment(timeout=CALL_SECONDS)
                longest = max(longest, time.monotonic() - began)
                if stop.wait(EACH_SECONDS):
                    break

        with repeatedly(act):
            yield
    if longest < DEFRAGMENTED_SECONDS:
        raise NotMade(f"the longest defragmentation took {longest:.2f} s")


def _restarts(*numbers: int, gently: bool) -> Callable[[Ground], Iterator[None]]:
    def during(ground: Ground) -> Iterator[None]:
        def act(stop: threading.Event) -> None:
            for number in numbers:
                process = ground.control.apiservers[number].process
                if not gently:
                    process.kill()
                process.restart()
                if stop.wait(EACH_SECONDS):
                    break

        with repeatedly(act):
            yield

    return during


def _idle(ground: Ground) -> Iterator[None]:
    del ground
    yield


def _audit_stuck(ground: Ground) -> Iterator[None]:
    assert ground.audit is not None
    ground.audit.held.clear()
    ground.audit.works.clear()
    yield
    ground.audit.works.set()
    if not ground.audit.held.is_set():
        raise NotMade("the webhook held no request")


LOOKALIKES: Final = (
    Lookalike("idle cluster", _idle),
    Lookalike("apiserver at 100 % CPU", _busy, least=0.8),
    Lookalike(
        "etcd with 200 ms disk latency",
        _slow_disks,
        first=frozenset({Verdict.ETCD_SLOW}),
        other=frozenset({Verdict.ETCD_SLOW}),
        why="etcd is slow",
    ),
    Lookalike("long LISTs", _long_lists),
    Lookalike("slow scrape", _slow_scrape),
    Lookalike("exporter stopped for 10 s", _exporter_stopped),
    Lookalike("the exporter's clock jumps by an hour", _clock_jumps),
    Lookalike(
        "one member of three down, nobody's own",
        _member_down(2),
        shared=MEMBER,
        why="it fails those who use it, which is nobody with local endpoints",
    ),
    Lookalike(
        "one member of three down, the first's own",
        _member_down(0),
        first=MEMBER,
        shared=MEMBER,
        why="it fails those who use it",
    ),
    Lookalike("leader change", _leader_changes),
    Lookalike(
        "defragmentation of each member in turn",
        _defragmented,
        first=MEMBER,
        other=MEMBER,
        why="a member stands still while it defragments, and fails those who use it",
    ),
    Lookalike(
        "rolling restart of the apiservers",
        _restarts(0, 1, gently=True),
        first=DOWN,
        other=DOWN,
        why="nobody listens between its end and its start",
    ),
    Lookalike(
        "an apiserver that is just starting",
        _restarts(0, gently=False),
        first=DOWN,
        why="nobody listens until it does",
    ),
    Lookalike("audit webhook stuck", _audit_stuck, why="requests wait for the webhook, not for etcd", audited=True),
)
