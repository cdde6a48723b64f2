"""Makes what is still missing of a drill, row by row, each written down when it is done."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from drills.stack import Fleet
from drills.stack.kwok import renewing
from drills.stall import cures as curing
from drills.stall import observe, rows
from drills.stall.crowd import plant
from drills.stall.cures import Cured
from drills.stall.faults import SICKNESSES, measure
from drills.stall.ground import Ground, running
from drills.stall.lookalikes import LOOKALIKES
from drills.stall.observe import Observed
from drills.stall.rows import CURES_DECIDE, LOOKALIKES_DECIDE, RENEWING, Row, Rows
from drills.stall.watch import Watcher

FAULTS_FILE, LOOKALIKES_FILE = Path("build/stall.jsonl"), Path("build/stall-lookalikes.jsonl")
CURES_FILE: Final = Path("build/stall-cures.jsonl")
GROUNDS: Final = ("local", "all")
RENEWING_MORE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for; ``grounds`` are the endpoints of etcd that each apiserver gets, `local` or `all`."""

    names: tuple[str, ...]
    grounds: tuple[str, ...] = ("local",)
    times: int = 1
    nodes: int = 0
    seconds: float = 130.0
    """For how long each look-alike is made."""
    ends: float = float("inf")
    """No row begins after that, by the monotonic clock."""

    def left(self, made: Iterable[str]) -> list[str]:
        """What is still to be made; all are made once before any is made twice."""
        had = list(made)
        return [name for turn in range(self.times) for name in self.names if turn >= had.count(name)]

    def turns(self, left: Sequence[str], where: str) -> Iterator[str]:
        """One after the other while there is time, each announced."""
        for number, name in enumerate(left, 1):
            if time.monotonic() > self.ends:
                return
            say(f"{number} of {len(left)}, {where}: {name} ...")
            yield name

    @property
    def over(self) -> bool:
        return time.monotonic() > self.ends


def say(what: str) -> None:
    """For people who watch."""
    print(what, file=sys.stderr, flush=True)


def faults(options: Options) -> list[Row]:
    """All rows that are asked for and of this version, those that were missing made now."""
    kept = Rows(FAULTS_FILE, Row)
    known = {each.name: each for each in SICKNESSES}

    def made(endpoints: str) -> list[Row]:
        alike = (row for row in kept.read() if row.endpoints == endpoints and row.nodes == options.nodes)
        return [row for row in alike if row.fault in options.names]

    for endpoints in options.grounds:
        while (left := options.left(row.fault for row in made(endpoints))) and not options.over:
            with running(local=endpoints == "local") as ground:
                fleet = _fleet(ground, options.nodes)
                watcher = Watcher(ground)
                for name in options.turns(left, f"endpoints {endpoints}, {options.nodes:,} nodes"):
                    share = _renewing(ground, fleet)
                    row = msgspec.structs.replace(
                        measure(ground, watcher, known[name]),
                        code=kept.code,
                        endpoints=endpoints,
                        nodes=options.nodes,
                        renewing=share,
                        renewed_every=fleet.renewed_every if fleet else 0.0,
                    )
                    kept.add(row)
                    say(f"  {rows.told(row)}")
                    if row.well is None:  # what it left behind is not the next one's: that gets a new ground
                        break
    return [row for endpoints in options.grounds for row in made(endpoints)]


def _fleet(ground: Ground, nodes: int) -> Fleet | None:
    return ground.stack.kwok(ground.control, nodes=nodes, fit=True, say=say) if nodes else None


def _renewing(ground: Ground, fleet: Fleet | None) -> float:
    """The share of the nodes that renew their Leases, once it is enough: a fault holds most of them up for a while."""
    if fleet is None:
        return 1.0
    ends = time.monotonic() + 2 * fleet.renewed_every + RENEWING_MORE_SECONDS
    while (share := renewing(ground.control, fleet)) < RENEWING and time.monotonic() < ends:
        time.sleep(1.0)
    return share


def lookalikes(options: Options) -> list[Observed]:
    """The same of what only looks like a fault."""
    kept = Rows(LOOKALIKES_FILE, Observed, LOOKALIKES_DECIDE)
    known = {each.name: each for each in LOOKALIKES}

    def made(endpoints: str) -> list[Observed]:
        alike = (row for row in kept.read() if row.endpoints == endpoints and row.lasted >= options.seconds)
        return [row for row in alike if row.name in options.names]

    for endpoints in options.grounds:
        while (left := options.left(row.name for row in made(endpoints))) and not options.over:
            audited = known[left[0]].audited
            with running(local=endpoints == "local", audited=audited) as ground:
                plant(ground)
                watcher = Watcher(ground)
                here = [name for name in left if known[name].audited == audited]
                for name in options.turns(here, f"endpoints {endpoints}"):
                    row = observe.observe(ground, watcher, known[name], options.seconds)
                    kept.add(msgspec.structs.replace(row, code=kept.code, endpoints=endpoints))
                    say(f"  {observe.told(row)}")
                    if row.well_again is None:
                        break
    return [row for endpoints in options.grounds for row in made(endpoints)]


def cures(options: Options) -> list[Cured]:
    """The same of the cures; each has a ground of its own."""
    kept = Rows(CURES_FILE, Cured, CURES_DECIDE)

    def made() -> list[Cured]:
        return [row for row in kept.read() if row.cure in options.names]

    for name in options.turns(options.left(row.cure for row in made()), "old connections mute"):
        row = curing.measure(name)
        kept.add(msgspec.structs.replace(row, code=kept.code))
        back = "never" if row.back is None else f"after {row.back:.1f} s"
        holds = "; ".join(row.misses) or "holds"
        say(f"  writes work again {back}; {row.failed} failed, {row.relists} relists; {holds}")
    return made()
