"""Rows of the stall's drill: kept in a file with the version of the code that made them, and told in a table."""

import hashlib
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from drills.stack.process import ROOT
from kube_ballast.analysis.stall import Verdict

VERDICT_SECONDS, ALERT_SECONDS, UNKNOWN_SECONDS = 8.0, 20.0, 3.0
"""Targets, in the worst case; the last one is for how long a verdict that was right may be `unknown` in between."""
WELL_SECONDS: Final = 120.0
"""Within so many seconds of a fault's end both apiservers have to be `ok` again, and nobody paged."""
RENEWING: Final = 0.9
"""Of the fake nodes, so many have to renew their Leases when a fault begins."""
DECIDES: Final = (
    "lib/kube_ballast/analysis/apiserver_*.py",
    "lib/kube_ballast/analysis/stall*.py",
    "lib/kube_ballast/config*.py",
    "lib/kube_ballast/clients/*.py",
    "lib/kube_ballast/clients/etcd/*.py",
    "lib/kube_ballast/clients/kubernetes/*.py",
    "exporters/ballast_exporter/*.py",
    "exporters/ballast_exporter/collectors/grpc_stall.py",
    "deploy/kubernetes/flow-control.yaml",
    "deploy/kubernetes/rbac.yaml",
    "drills/relay/*.py",
    "drills/stack/*.py",
    "drills/stall/ground.py",
    "drills/stall/faults.py",
    "drills/stall/making.py",
    "drills/stall/watch.py",
    "mixin/alerts/apiserver_path.libsonnet",
    "mixin/config.libsonnet",
    "mixin/lib/*.libsonnet",
)
"""The files that decide what a row says: a row that others made does not count."""
CURES_DECIDE: Final = (
    *DECIDES,
    "drills/cure.py",
    "drills/stall/cures.py",
    "lib/kube_ballast/analysis/control_plane.py",
    "lib/kube_ballast/clients/hosts/**/*",
    "remediator/ballast_remediator/**/*",
)
LOOKALIKES_DECIDE: Final = (
    *DECIDES,
    "drills/stall/audit_webhook.py",
    "drills/stall/crowd.py",
    "drills/stall/lookalikes.py",
    "drills/stall/observe.py",
)

_SOURCES: Final = (".py", ".libsonnet", ".yml", ".yaml")


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault, made once. Times are seconds since its begin, ``well`` since its end; None is never.

    ``wrong`` are names that were told of either apiserver until all was well again, and what was not said of the right
    one. ``renewing`` is the share of the fake nodes that renewed their Leases when it began.
    """

    fault: str
    expected: Verdict
    verdict: float | None
    alert: float | None
    wrong: tuple[str, ...]
    lost: float | None
    unknown: float
    lasted: float
    told: tuple[str, ...]
    well: float | None
    code: str = ""
    endpoints: str = ""
    nodes: int = 0
    renewing: float = 1.0
    renewed_every: float = 0.0
    """How many seconds lie between two renewals of a fake node's Lease."""

    @property
    def misses(self) -> tuple[str, ...]:
        """What does not hold, in words."""
        return tuple(
            word
            for word, holds in (
                ("no verdict in time", self.verdict is not None and self.verdict <= VERDICT_SECONDS),
                ("no alert in time", self.alert is not None and self.alert <= ALERT_SECONDS),
                (f"wrong: {', '.join(self.wrong)}", not self.wrong),
                ("the right verdict did not stay", self.lost is None),
                (f"unknown for {self.unknown:.1f} s in between", self.unknown <= UNKNOWN_SECONDS),
                (f"not well again {WELL_SECONDS:g} s after its end", self.well is not None),
                (f"{self.renewing:.0%} of the nodes renewed their Leases", self.renewing >= RENEWING),
            )
            if not holds
        )


def version(decides: Iterable[str] = DECIDES) -> str:
    """A digest of all that decides, and of which etcd it is made on."""
    digest = hashlib.sha256(os.environ.get("ETCD", "").encode())
    for path in sorted(path for pattern in decides for path in ROOT.glob(pattern) if path.suffix in _SOURCES):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class Versioned(Protocol):
    """What knows which code made it."""

    @property
    def code(self) -> str: ...


class _Made(msgspec.Struct, frozen=True):
    code: str = ""


R = TypeVar("R", bound=Versioned)


class Rows(Generic[R]):
    """A file of rows; those that another version made stay there and are not given."""

    def __init__(self, file: Path, kind: type[R], decides: Iterable[str] = DECIDES) -> None:
        self._file, self._kind, self._decides = file, kind, tuple(decides)
        self.code = version(self._decides)

    def read(self) -> tuple[R, ...]:
        """Those of this version."""
        lines = self._file.read_bytes().splitlines() if self._file.exists() else []
        return tuple(msgspec.json.decode(line, type=self._kind) for line in lines if self._counts(line))

    def _counts(self, line: bytes) -> bool:
        try:
            return msgspec.json.decode(line, type=_Made).code == self.code
        except msgspec.DecodeError:  # of a run that was ended while it wrote
            return False

    def add(self, row: R) -> None:
        """One that is made. Raises SystemExit when the sources changed meanwhile: nobody knows what made it."""
        if version(self._decides) != self.code:
            raise SystemExit("the sources that decide a row were changed while it was made: it does not count")
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("ab") as file:
            file.write((b"" if self._whole() else b"\n") + msgspec.json.encode(row) + b"\n")

    def _whole(self) -> bool:
        """Whether the last line was written to its end."""
        return self._file.read_bytes()[-1:] in {b"", b"\n"}


def told(row: Row) -> str:
    """One row, as it was made."""
    holds = "; ".join(row.misses) or "holds"
    return f"{row.fault:20} {row.expected:16} verdict {_seconds(row.verdict)}  alert {_seconds(row.alert)}  {holds}"


def table(rows: Iterable[Row]) -> str:
    """All of them in Markdown: the worst and the median of each fault, by what it was made on."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.endpoints, row.nodes, row.fault), []).append(row)
    head = (
        "| endpoints | nodes | fault | verdict | times | verdict after, worst (median) | alert after, worst (median) "
    )
    lines = [head + "| wrong names | unknown in between, at most | well again after |", "|---" * 10 + "|"]
    for (endpoints, nodes, fault), made in groups.items():
        wrong = sum(len(row.wrong) + (row.lost is not None) for row in made)
        lines.append(
            f"| {endpoints} | {_nodes(nodes, made)} | {fault} | `{made[0].expected}` | {len(made)} "
            f"| {_worst([row.verdict for row in made])} | {_worst([row.alert for row in made])} "
            f"| {wrong} | {max(row.unknown for row in made):.1f} s | {_worst([row.well for row in made])} |"
        )
    return "\n".join(lines)


def _nodes(nodes: int, made: Sequence[Row]) -> str:
    """With how often they renewed, at the least often."""
    return f"{nodes:,}, every {max(row.renewed_every for row in made):g} s" if nodes else "0"


def _worst(seconds: Sequence[float | None]) -> str:
    came = [each for each in seconds if each is not None]
    if len(came) < len(seconds):
        return f"never in {len(seconds) - len(came)} of {len(seconds)}"
    return f"{max(came):.1f} s ({statistics.median(came):.1f} s)"


def _seconds(seconds: float | None) -> str:
    return "  never" if seconds is None else f"{seconds:5.1f} s"
