"""`make faults`: the remediator at work while everything around it fails, and nothing may be lost or done twice.

Each point is one fault at one moment, drawn from the seed and the point's number; alerts keep coming meanwhile. What
must hold afterwards: `drills.faults.invariants`. The exit code is 1 when it did not.
"""

import argparse
import secrets
import sys
from functools import partial
from typing import Final

from drills.faults import script
from drills.faults.invariants import INVARIANTS
from drills.faults.points import StoreKind

STORES: Final = {"both": tuple(StoreKind), **{kind.value: (kind,) for kind in StoreKind}}
SIDE_BY_SIDE: Final = 2


def report(counts: script.Counts, seed: int, store: StoreKind) -> str:
    """The table that docs/durability.md quotes."""
    rows: list[tuple[str, object]] = [
        *sorted(counts.faults.items()),
        *((f"skipped, {why}", count) for why, count in sorted(counts.skipped.items())),
        ("alerts accepted", counts.accepted),
        *((f"  posts answered {answer}", count) for answer, count in sorted(counts.answers.items())),
        ("effects", counts.effects),
        ("defragmentations, by etcd's logs", counts.defragmentations),
        *((f"runs {state}", count) for state, count in sorted(counts.states.items())),
        ("runs taken over", counts.taken_over),
        ("effects between a look and a takeover", counts.in_the_window),
        *((name, len(counts.violations.get(name, ()))) for name in INVARIANTS),
        *((name, len(each)) for name, each in counts.violations.items() if name not in INVARIANTS and name != "logs"),
    ]
    lines = [f"{store}, seed {seed}: {counts.points} points in {counts.seconds:.0f} s"]
    lines += [f"  {what:<48}{count!s:>8}" for what, count in rows]
    lines += [f"  {name}: {words}" for name, each in counts.violations.items() for words in each[:20]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000, help="how many on each store (default: 1000)")
    parser.add_argument("--seed", type=int, default=None, help="repeats an earlier run's draws")
    parser.add_argument("--first", type=int, default=1, help="the first point's number, to go on with a run")
    parser.add_argument("--store", choices=sorted(STORES), default="both")
    parser.add_argument("--side-by-side", type=int, default=SIDE_BY_SIDE, help="rounds that go on at once (default: 2)")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    violated = False
    for store in STORES[options.store]:
        print(f"{store}, seed {seed}: points {options.first} to {options.first + options.points - 1}", flush=True)
        counts = script.run(
            seed,
            store,
            points=options.points,
            first=options.first,
            side_by_side=options.side_by_side,
            tell=partial(print, flush=True),
        )
        print(f"\n{report(counts, seed, store)}\n", flush=True)
        violated = violated or bool(counts.violations)
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
