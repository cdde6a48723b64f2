"""Makes an apiserver's way to etcd sick, one way after another, and times verdict and alert: `make drill-stall`.

Real etcd (three members, TLS), two apiservers, each behind relays of its own, the exporter as a process of its own,
Prometheus and Alertmanager with the mixin's rules. With ``--lookalikes`` it makes what only looks like a stall, and
counts false names. Each row is written down when it is done, with the version of the code that made it; a run goes on
where the last one ended. Ends with 1 when a row does not hold, or is not made yet.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from drills.stall import observe, rows
from drills.stall.faults import SICKNESSES
from drills.stall.lookalikes import LOOKALIKES
from drills.stall.making import GROUNDS, Options, faults, lookalikes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    known = tuple(each.name for each in (LOOKALIKES if given.lookalikes else SICKNESSES))
    if given.only not in {None, *known}:
        print(f"there is no {given.only!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    options = Options(
        names=(given.only,) if given.only else known,
        grounds=GROUNDS if given.endpoints == "both" else (given.endpoints,),
        times=given.times,
        nodes=given.nodes,
        seconds=given.seconds,
        ends=time.monotonic() + given.minutes * 60,
    )
    misses: list[str] = []
    if given.lookalikes:
        seen = lookalikes(options)
        print(observe.table(seen))
        print(f"{sum(row.lasted for row in seen) / 60:.0f} minutes, {sum(len(row.false) for row in seen)} false names")
        misses = [f"{row.endpoints}, {row.name}: {miss}" for row in seen for miss in row.misses]
        made = len(seen)
    else:
        timed = faults(options)
        print(rows.table(timed))
        misses = [f"{row.endpoints}, {row.fault}: {miss}" for row in timed for miss in row.misses]
        made = len(timed)
    for miss in misses:
        print(f"missed: {miss}", file=sys.stderr)
    short = len(options.names) * len(options.grounds) * options.times - made
    if short > 0:
        print(f"not made yet: {short} rows; the same command goes on", file=sys.stderr)
    return 1 if misses or short > 0 else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lookalikes", action="store_true", help="not the faults but what looks like them")
    parser.add_argument("--endpoints", choices=(*GROUNDS, "both"), default="local", help="of etcd, per apiserver")
    parser.add_argument("--times", type=int, default=1, help="how often each is made")
    parser.add_argument("--nodes", type=int, default=0, help="fake nodes, as many of them as the machine holds")
    parser.add_argument("--only", help="the name of one of them")
    parser.add_argument("--seconds", type=float, default=130.0, help="how long each look-alike lasts")
    parser.add_argument("--minutes", type=float, default=600.0, help="no row begins after that; 0 prints the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
