"""Compares what was counted of an apiserver's requests, and latencies with and without something. Pure."""

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from kube_ballast.clients.exposition import Sample

K = TypeVar("K")
LEAST: Final = 0.005
"""A smaller share is not compared: one request more or less would be too much of it."""
DRAWS: Final = 400
_BEYOND: Final = 0.025
"""On each side of an interval."""
_VERBS: Final = {"create": "POST", "update": "PUT", "APPLY": "PATCH", "DELETECOLLECTION": "DELETE"}


class Asked(NamedTuple):
    """A resource, with its group and without a subresource, and the verb as metrics have it: ``leases.x``, ``PUT``."""

    resource: str
    verb: str


Counts = Mapping[Asked, float]
"""Requests that name a resource."""


def own_counts(samples: Iterable[Sample]) -> Counts:
    """Of an apiserver's ``apiserver_request_total``, or of ``ballast_apiserver_requests_total``."""
    return _summed(
        (_whole(each.labels["resource"], each.labels["group"]), each.labels["verb"], each.value) for each in samples
    )


def audited_counts(samples: Iterable[Sample]) -> Counts:
    """Of ``ballast_apiserver_clients_requests_total``."""
    return _summed((_bare(each.labels["resource"]), each.labels["verb"], each.value) for each in samples)


def _summed(told: Iterable[tuple[str, str, float]]) -> Counts:
    counts: defaultdict[Asked, float] = defaultdict(float)
    for resource, verb, value in told:
        if resource:
            upper = _VERBS.get(verb, verb).upper()
            counts[Asked(resource, _VERBS.get(upper, upper))] += value
    return dict(counts)


def _whole(resource: str, group: str) -> str:
    return f"{resource}.{group}" if resource and group else resource


def _bare(name: str) -> str:
    """``deployments.apps`` of ``deployments/scale.apps``."""
    first, _, group = name.partition(".")
    return _whole(first.partition("/")[0], group)


def grown(before: Mapping[K, float], after: Mapping[K, float]) -> dict[K, float]:
    """What came in between. Raises ValueError when a count went down."""
    came = {key: count - before.get(key, 0.0) for key, count in after.items()}
    if fell := [key for key in before.keys() | came.keys() if came.get(key, -math.inf) < 0]:
        raise ValueError(f"counted less than before: {sorted(map(str, fell))}")
    return came


def apart(own: Counts, told: Counts) -> float:
    """By how much the share that is farthest from the own one differs from it, relative to it; inf for one that lacks.

    Shares are of everything in each of the two. Those below ``LEAST`` in both are not looked at.
    """
    ours, theirs = _shares(told), _shares(own)
    keys = [key for key in ours.keys() | theirs.keys() if max(ours.get(key, 0), theirs.get(key, 0)) >= LEAST]
    return max(_apart(theirs.get(key, 0.0), ours.get(key, 0.0)) for key in keys)


def apart_by_client(own: Counts, told: Mapping[str, float], asks: Mapping[str, Sequence[Asked]]) -> float:
    """As ``apart``, for clients that alone ask what ``asks`` says of them; ``told`` is everybody's requests."""
    theirs, ours = _shares(own), _shares(told)
    return max(
        _apart(sum(theirs.get(each, 0.0) for each in what), ours.get(client, 0.0)) for client, what in asks.items()
    )


def _shares(counts: Mapping[K, float]) -> dict[K, float]:
    total = sum(counts.values())
    return {key: count / total for key, count in counts.items()}


def _apart(own: float, told: float) -> float:
    return abs(told / own - 1) if own else math.inf


def p99(seconds: Sequence[float]) -> float:
    """Of one window, or of many."""
    return statistics.quantiles(seconds, n=100)[98]


class Ratio(NamedTuple):
    """What was measured, and between which two the true one lies, with 95 %."""

    value: float
    low: float
    high: float


def p99_ratio(with_it: Sequence[Sequence[float]], without: Sequence[Sequence[float]]) -> Ratio:
    """The p99 of all windows with something to that of all without; windows of one number are of one moment.

    The interval is that of 400 draws of as many pairs of windows from the same: what is late comes in clusters, so that
    windows are drawn and not requests.
    """
    chance = random.Random(DRAWS)  # noqa: S311 - the same windows give the same interval
    numbers = range(len(with_it))
    drawn = sorted(_p99_ratio(with_it, without, chance.choices(numbers, k=len(numbers))) for _ in range(DRAWS))
    beyond = round(_BEYOND * DRAWS)
    return Ratio(_p99_ratio(with_it, without, numbers), drawn[beyond], drawn[-beyond - 1])


def _p99_ratio(with_it: Sequence[Sequence[float]], without: Sequence[Sequence[float]], numbers: Iterable[int]) -> float:
    chosen = tuple(numbers)
    first, second = ([each for number in chosen for each in windows[number]] for windows in (with_it, without))
    return p99(first) / p99(second)
