"""Counts a stream of keys in bounded memory: exactly those that are told, the others together, and none is lost. Pure.

Which keys are heavy is found as Misra and Gries did, pruned many at a time (Anderson et al., "A High-Performance
Algorithm for Identifying Frequent Items in Data Streams", IMC 2017): each kept key has a weight, and when there are too
many of them the median is taken off all; what reaches 0 is forgotten. So a key's requests are never more than its
weight and what was taken off, and never fewer than its weight. Weights are halved from time to time, or a key that was
heavy last week would be told for a month; so are the amounts taken off.
"""

from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

KEPT: Final = 8192
"""Weights that outlive a pruning; there are twice as many at most."""
_BEATS: Final = 2.0
"""So many times a told key's weight makes its place worth taking: two that are alike would change places for ever."""

K = TypeVar("K", bound=Hashable)


class HeavyKeys(Generic[K]):
    """At most ``top`` keys are told, each by what came while it was: a key is told from 0 on.

    At any moment the sum of ``told`` and ``remainder`` and ``retired`` is ``events``. None of the four goes down, but
    for a told key that is retired: it is told no more, and what it had counted is in ``retired`` from then on.
    """

    def __init__(self, top: int, kept: int = KEPT) -> None:
        if top > kept:
            raise ValueError(f"{top} keys cannot be told where {kept} are kept")
        self._top = top
        self._kept = kept
        self._weights: dict[K, float] = {}
        self._taken_off = 0.0
        self._told: dict[K, int] = {}
        self.events = 0
        self.remainder = 0
        self.retired = 0

    @property
    def told(self) -> Mapping[K, int]:
        """The told keys with what they counted."""
        return self._told

    def add(self, key: K) -> None:
        """One event."""
        self.events += 1
        if key in self._told:
            self._told[key] += 1
        else:
            self.remainder += 1
        weights = self._weights
        weights[key] = weights.get(key, 0.0) + 1.0
        if len(weights) > 2 * self._kept:
            self._prune()

    def halve(self) -> None:
        """A period is over: what came before it counts half."""
        self._weights = {key: weight / 2 for key, weight in self._weights.items()}
        self._taken_off /= 2

    def choose(self) -> None:
        """Tell the heaviest keys: free places are filled, and a key that is twice as heavy takes the lightest's."""
        told = sorted(self._told, key=self._weight)
        others = sorted((key for key in self._weights if key not in self._told), key=self._weight, reverse=True)
        free = self._top - len(told)
        for key in others[:free]:
            self._told[key] = 0
        for light, heavy in zip(told, others[max(free, 0) :], strict=False):
            if self._weight(heavy) <= _BEATS * (self._weight(light) + self._taken_off):
                break
            self.retired += self._told.pop(light)
            self._told[heavy] = 0

    def error_bound(self) -> float:
        """Events since the last ``halve`` that a key may have which is not told; half of those before count too."""
        others = (weight for key, weight in self._weights.items() if key not in self._told)
        return max(others, default=0.0) + self._taken_off

    def _weight(self, key: K) -> float:
        return self._weights.get(key, 0.0)

    def _prune(self) -> None:
        """The heaviest ``kept`` stay at most."""
        least = sorted(self._weights.values(), reverse=True)[self._kept]
        self._weights = {key: weight - least for key, weight in self._weights.items() if weight > least}
        self._taken_off += least
