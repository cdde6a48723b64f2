"""Makes an apiserver's way to etcd sick, one way after another, and times verdict and alert: `make drill-stall`.

Real etcd (three members, TLS), two apiservers, each behind relays of its own, the exporter as a process of its own,
Prometheus and Alertmanager with the mixin's rules. With ``--lookalikes`` it makes what only looks like a stall, and
counts false names; with ``--cures`` it times the cure of old connections that are mute, and a restart. Each row is
written down when it is done, with the version of the code that made it; a run goes on where the last one ended. Ends
with 1 when a row does not hold, or is not made yet.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from drills.stall import cures as curing
from drills.stall import observe, rows
from drills.stall.cures import CURES
from drills.stall.faults import SICKNESSES
from drills.stall.lookalikes import LOOKALIKES
from drills.stall.making import GROUNDS, Options, cures, faults, lookalikes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    known = tuple(each.name for each in SICKNESSES)
    if given.lookalikes:
        known = tuple(each.name for each in LOOKALIKES)
    elif given.cures:
        known = CURES
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
    misses = _lookalikes(options) if given.lookalikes else _cures(options) if given.cures else _faults(options)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def _faults(options: Options) -> list[str]:
    """Makes and prints them; gives what misses."""
    made = faults(options)
    print(rows.table(made))
    missed = [f"missed: {row.endpoints}, {row.fault}: {miss}" for row in made for miss in row.misses]
    return missed + _short(
        options, {each: [row.fault for row in made if row.endpoints == each] for each in options.grounds}
    )


def _lookalikes(options: Options) -> list[str]:
    made = lookalikes(options)
    print(observe.table(made))
    print(f"{sum(row.lasted for row in made) / 60:.0f} minutes, {sum(len(row.false) for row in made)} false names")
    missed = [f"missed: {row.endpoints}, {row.name}: {miss}" for row in made for miss in row.misses]
    return missed + _short(
        options, {each: [row.name for row in made if row.endpoints == each] for each in options.grounds}
    )


def _cures(options: Options) -> list[str]:
    made = cures(options)
    print(curing.table(made))
    missed = [f"missed: {row.cure}: {miss}" for row in made for miss in row.misses]
    return missed + _short(options, {"": [row.cure for row in made]})


def _short(options: Options, made: Mapping[str, list[str]]) -> list[str]:
    """``made`` are the names of the rows on each ground."""
    missing = sum(len(options.left(names)) for names in made.values())
    return [f"not made yet: {missing} rows; the same command goes on"] if missing else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--lookalikes", action="store_true", help="not the faults but what looks like them")
    what.add_argument("--cures", action="store_true", help="not the faults but their cure, unattended; needs root")
    parser.add_argument("--endpoints", choices=(*GROUNDS, "both"), default="local", help="of etcd, per apiserver")
    parser.add_argument("--times", type=int, default=1, help="how often each is made")
    parser.add_argument("--nodes", type=int, default=0, help="fake nodes; they renew as often as the machine holds")
    parser.add_argument("--only", help="the name of one of them")
    parser.add_argument("--seconds", type=float, default=130.0, help="how long each look-alike lasts")
    parser.add_argument("--minutes", type=float, default=600.0, help="no row begins after that; 0 prints the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
