"""Makes an apiserver's way to etcd sick, one way after another, and times the verdict: `make drill-stall`.

Real etcd (three members, TLS), two apiservers, each behind relays of its own. Each row is written down when it is done;
a run goes on where the last one ended, unless `--fresh` is given.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_probes import Probes, Server
from drills.relay import PASS, Fault, Mode, Relay, RelayTLS
from drills.stack import ControlPlane, EtcdCluster, Stack
from drills.stack.kubernetes import ADMINS
from kube_ballast.analysis.stall import Verdict
from kube_ballast.config import HttpConfig

RESULTS = Path("build/stall.jsonl")
TARGET_SECONDS = 8.0
PATIENCE_SECONDS, WELL_SECONDS = 30.0, 90.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What runs: the first apiserver is the one that gets sick."""

    etcd: EtcdCluster
    control: ControlPlane
    relays: Sequence[Relay]
    """Those of the first apiserver."""
    probes: Probes
    shared: bool
    """Whether the other apiserver uses the same members: then a bad one is bad for both."""

    def set(self, fault: Fault) -> None:
        for relay in self.relays:
            relay.set(fault)

    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(each.verdict for each in self.probes.judgements().values())


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, what begins and ends it, and the verdict that is right; ``both`` when it is right for both."""

    name: str
    expected: Verdict
    begin: Callable[[Ground], None]
    end: Callable[[Ground], None]
    both: bool = False


def _relayed(name: str, expected: Verdict, fault: Fault) -> Row:
    def end(ground: Ground) -> None:
        ground.set(PASS)
        for relay in ground.relays:
            relay.sever()

    return Row(name, expected, lambda ground: ground.set(fault), end)


def _pause_two(ground: Ground) -> None:
    for member in ground.etcd.members[:2]:
        member.pause()


def _resume_two(ground: Ground) -> None:
    for member in ground.etcd.members[:2]:
        member.resume()


ROWS = (
    _relayed("mute", Verdict.CHANNEL_STALLED, Fault(Mode.MUTE)),
    _relayed("mute one resource", Verdict.CHANNEL_STALLED, Fault(Mode.MUTE, resource="configmaps")),
    _relayed("blackhole", Verdict.CHANNEL_STALLED, Fault(Mode.BLACKHOLE)),
    _relayed("reset", Verdict.CHANNEL_STALLED, Fault(Mode.RESET)),
    _relayed("drop-watch", Verdict.WATCH_STALE, Fault(Mode.DROP_WATCH)),
    _relayed("old mute, new pass", Verdict.CHANNEL_STALLED, Fault(Mode.MUTE, only_old=True)),
    Row(
        "etcd SIGSTOP",
        Verdict.ETCD_MEMBER_BAD,
        lambda ground: ground.etcd.members[0].pause(),
        lambda ground: ground.etcd.members[0].resume(),
    ),
    Row(
        "etcd quorum lost",
        Verdict.ETCD_DOWN,
        _pause_two,
        _resume_two,
        both=True,
    ),
    Row(
        "apiserver SIGSTOP",
        Verdict.UNREACHABLE,
        lambda ground: ground.control.apiservers[0].process.pause(),
        lambda ground: ground.control.apiservers[0].process.resume(),
    ),
    Row(
        "apiserver killed",
        Verdict.DOWN,
        lambda ground: ground.control.apiservers[0].process.kill(),
        lambda ground: ground.control.apiservers[0].process.restart(),
    ),
)


def measure(ground: Ground, row: Row) -> dict[str, object]:
    """One row: seconds until the right verdict, and every other name that was given on the way."""
    _until_well(ground)
    both = row.both or (ground.shared and row.expected is Verdict.ETCD_MEMBER_BAD)
    allowed = {row.expected, Verdict.OK, Verdict.UNKNOWN}
    wrong: set[str] = set()
    right: float | None = None
    began = time.monotonic()
    row.begin(ground)
    try:
        while time.monotonic() - began < PATIENCE_SECONDS and (right is None or time.monotonic() - began < right + 5):
            first, second = ground.verdicts()
            if first is row.expected and right is None:
                right = time.monotonic() - began
            wrong |= {first} - allowed
            wrong |= {f"{second} (the other apiserver)"} if second not in (allowed if both else _BLAMELESS) else set()
            time.sleep(0.05)
    finally:
        told = [each.reasons for each in ground.probes.judgements().values()]
        row.end(ground)
    return {"fault": row.name, "expected": row.expected, "seconds": right, "wrong": sorted(wrong), "told": told}


_BLAMELESS = {Verdict.OK, Verdict.UNKNOWN}


def _until_well(ground: Ground) -> None:
    deadline = time.monotonic() + WELL_SECONDS
    while set(ground.verdicts()) != {Verdict.OK}:
        if time.monotonic() > deadline:
            raise SystemExit(f"not well within {WELL_SECONDS:g} s: {ground.probes.judgements()}")
        time.sleep(0.1)


@contextmanager
def running(*, local: bool) -> Iterator[Ground]:
    """The ground; with ``local`` each apiserver has one member of its own, else all three."""
    with ExitStack() as exits:
        stack = exits.enter_context(Stack())
        etcd = stack.etcd(members=3, tls=True)
        assert etcd.authority is not None
        tls = RelayTLS(etcd.authority.issue("relay"), etcd.authority.issue("relay-client"))
        used = [etcd.endpoints[number : number + 1] if local else etcd.endpoints for number in range(2)]
        relays = [[exits.enter_context(Relay(endpoint, tls=tls)) for endpoint in each] for each in used]
        control = stack.kube_apiserver(etcd, n=2, stores=[[relay.url for relay in each] for each in relays])
        files = control.authority.issue("stall-probes", organization=ADMINS)
        servers = [
            Server(HttpConfig(url=apiserver.url, tls=files), members)
            for apiserver, members in zip(control.apiservers, used, strict=True)
        ]
        probes, stop = Probes(servers, etcd.config, RequestCounter()), threading.Event()
        thread = threading.Thread(target=probes.run, args=(stop,))
        thread.start()
        try:
            yield Ground(etcd, control, relays[0], probes, shared=not local)
        finally:
            stop.set()
            thread.join()
            probes.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", choices=("local", "all"), default="local")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", help="the name of one fault")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    RESULTS.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    counted = [row for row in ROWS if options.only in {None, row.name}]
    with running(local=options.endpoints == "local") as ground:
        for row in counted:
            have = sum((each["fault"], each["endpoints"]) == (row.name, options.endpoints) for each in done)
            for _ in range(options.times - have):
                result = {**measure(ground, row), "endpoints": options.endpoints}
                with RESULTS.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                seconds = "never" if result["seconds"] is None else f"{result['seconds']:.1f} s"
                print(f"{row.name:20} {row.expected:16} {seconds:>8}  wrong: {result['wrong'] or 'none'}", flush=True)


if __name__ == "__main__":
    main()
