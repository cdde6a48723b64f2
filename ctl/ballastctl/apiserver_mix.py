"""Who asked what between two readings. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ballastctl.apiserver_reading import CLIENTS, LABELS, REQUESTS, Key, Reading, Source
from kube_ballast.analysis.words import duration

SCHEMA: Final = 1
DEFAULT_BY: Final[Mapping[Source, tuple[str, ...]]] = {
    CLIENTS: ("client", "resource", "verb"),
    REQUESTS: ("resource", "verb"),
}
_ERRORS: Final = frozenset({"4xx", "5xx"})
_KNOW_WHO: Final = (
    "Who asks is not known: the exporter takes no audit events. docs/apiserver-clients.md says how to have them sent "
    "(`audit` in its configuration)."
)


@dataclass(frozen=True, slots=True)
class Row:
    """What is told together. Rates are per second; shares are 0 to 1, ``share`` of all, ``errors`` of its own.

    ``errors`` is None without requests; ``open`` are the long-running requests that are open now, None where unknown.
    """

    by: Mapping[str, str]
    requests_per_second: float
    share: float
    errors: float | None
    open: float | None


@dataclass(frozen=True, slots=True)
class Rest:
    """The requests that no series tells: of audit events, those of clients that are not among the busiest.

    ``error_bound`` is how many recent requests one client, doing one thing, may have had at most among them.
    """

    requests_per_second: float
    share: float
    error_bound: float | None


@dataclass(frozen=True, slots=True)
class Mix:
    """A whole report; ``seconds`` is what lies between the exporter's two counts, ``lost_events`` what was shed."""

    schema: int
    at: datetime
    source: Source
    by: tuple[str, ...]
    seconds: float
    requests_per_second: float
    errors: float | None
    rows: tuple[Row, ...]
    rest: Rest | None
    lost_events: Mapping[str, float]
    notes: tuple[str, ...]


class Restarted(Exception):
    """The counts began anew between the readings: nothing can be said of that time."""


def sort_rows(rows: Iterable[Row], by: Sequence[str], key: str) -> tuple[Row, ...]:
    """The largest first for numbers, by the alphabet for labels; what is equal by rate."""

    def rank(row: Row) -> tuple[float, float, tuple[str, ...]]:
        names = tuple(row.by[each] for each in by)
        errors = (row.errors or 0.0) * row.requests_per_second
        first = {"open": row.open or 0.0, "errors": errors}.get(key, row.requests_per_second)
        return -first, -row.requests_per_second, names

    ordered = sorted(rows, key=rank)
    return tuple(sorted(ordered, key=lambda row: row.by[key]) if key in by else ordered)


def mix(before: Reading, after: Reading, by: Sequence[str]) -> Mix:
    """What was asked between two readings of the same source. Raises Restarted."""
    seconds = after.at - before.at
    if after.source != before.source or seconds <= 0:
        raise Restarted("the exporter counts from another source now")
    if after.source == CLIENTS and after.all[""] < before.all[""]:
        raise Restarted("the exporter was restarted")
    new = {who for who in after.all if who not in before.all}
    restarted = {who for who in after.all if after.all[who] < before.all.get(who, 0.0)}
    deltas = dict(_deltas(before, after, restarted, skip=new if after.source == REQUESTS else set()))
    whole = _whole(before, after, deltas)
    rest = whole - sum(deltas.values())
    shed = {why: count - before.shed.get(why, 0.0) for why, count in after.shed.items()}
    return Mix(
        schema=SCHEMA,
        at=datetime.fromtimestamp(after.at, tz=UTC),
        source=after.source,
        by=tuple(by),
        seconds=seconds,
        requests_per_second=whole / seconds,
        errors=_errors(after.source, deltas.items()),
        rows=sort_rows(_rows(after, deltas, by, seconds, whole), by, "requests"),
        rest=None
        if after.source != CLIENTS
        else Rest(rest / seconds, rest / whole if whole else 0.0, after.error_bound),
        lost_events={why: count for why, count in shed.items() if count > 0},
        notes=tuple(_notes(after, whole, seconds, new, restarted)),
    )


def _deltas(before: Reading, after: Reading, restarted: set[str], skip: set[str]) -> Iterator[tuple[Key, float]]:
    """A series that appears, and one that counts anew, began at 0."""
    for key, count in after.series.items():
        if key[0] not in skip:
            earlier = 0.0 if key[0] in restarted else before.series.get(key, 0.0)
            yield key, count - earlier if count >= earlier else count


def _whole(before: Reading, after: Reading, deltas: Mapping[Key, float]) -> float:
    """Audit events have a count of their own, which also has those of series that are gone."""
    told = sum(deltas.values())
    return max(told, after.all[""] - before.all[""]) if after.source == CLIENTS else told


def _errors(source: Source, deltas: Iterable[tuple[Key, float]]) -> float | None:
    code = LABELS[source].index("code")
    whole = wrong = 0.0
    for key, delta in deltas:
        whole += delta
        wrong += delta if key[code] in _ERRORS else 0.0
    return wrong / whole if whole else None


def _rows(
    after: Reading, deltas: Mapping[Key, float], by: Sequence[str], seconds: float, whole: float
) -> Iterator[Row]:
    places = [LABELS[after.source].index(each) for each in by]
    together: defaultdict[Key, list[tuple[Key, float]]] = defaultdict(list)
    for key, delta in deltas.items():
        if delta:
            together[tuple(key[place] for place in places)].append((key, delta))
    open_ = _open(after, by)
    for names in {*together, *(open_ or {})}:
        parts = together.get(names, [])
        count = sum(delta for _, delta in parts)
        yield Row(
            by=dict(zip(by, names, strict=True)),
            requests_per_second=count / seconds,
            share=count / whole if whole else 0.0,
            errors=_errors(after.source, parts),
            open=None if open_ is None else open_.get(names, 0.0),
        )


def _open(after: Reading, by: Sequence[str]) -> Mapping[Key, float] | None:
    """Only the apiservers count them, and they do not know whose they are."""
    if after.open is None or not set(by) <= {"resource", "verb"}:
        return None
    sums: defaultdict[Key, float] = defaultdict(float)
    for (resource, verb), count in after.open.items():
        if count:
            sums[tuple(resource if each == "resource" else verb for each in by)] += count
    return sums


def _notes(after: Reading, whole: float, seconds: float, new: set[str], restarted: set[str]) -> Iterator[str]:
    if after.source == REQUESTS and CLIENTS not in after.failing:
        yield _KNOW_WHO
    for collector in after.failing:
        yield f"The exporter's {collector} fails at present: its status page says why."
    if after.source == CLIENTS and not whole:
        yield f"No audit event came in {duration(seconds)}: do the apiservers send them? docs/apiserver-clients.md"
    for who in sorted(new if after.source == REQUESTS else ()):
        yield f"{who} was read for the first time: its requests count from now on."
    for who in sorted(restarted):
        yield f"{who} was restarted: what it served before that is missing here."
    if after.unreadable:
        yield f"Not readable, so its requests are missing: {', '.join(after.unreadable)}"
