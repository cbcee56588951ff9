"""Effects: what one set of answers scores above another on the same rows, with interval and p-value.

Resamples and swaps depend on the number of clusters alone. So contrasts of as many clusters are measured
together: one matrix product sums each set of answers in all draws, whatever contrasts it stands in, and each
two sets are scored once. What is measured beside a contrast changes none of its figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.metrics.quantiles import NORMAL
from models.core.metrics.significance import (
    DRAWS_AT_ONCE,
    EQUAL,
    Floats,
    Score,
    batch_sizes,
    cluster_sums,
    draw_counts,
    percentile_interval,
)

# A test at 5 % on both sides sees a difference of so many standard errors in 80 % of all cases.
VISIBLE_ERRORS = NORMAL.inv_cdf(0.975) + NORMAL.inv_cdf(0.8)
# After so many swaps with as large a difference a p-value is known to 2 % of itself.
ENOUGH_AS_LARGE = 2_000
# After so many more it is asked again whether these are enough.
SHUFFLES_AT_ONCE = 1_024
# As many are drawn at once, of a byte for eight clusters.
SHUFFLES_DRAWN = 4_096
SHUFFLES, SHUFFLES_PER_TEST, MAX_SHUFFLES = 9_999, 100, 99_999
# Numbers that are held of contrasts that are measured together, and of their sums in a batch of draws.
MAX_SHARED = 1 << 24
# Two sets of answers by their numbers, the smaller first.
Sets = tuple[int, int]
# A contrast by its number, and the name of a score.
Measurand = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Effect:
    """The second set's score minus the first's, with its confidence interval, and the two-sided probability
    of such a difference between equal sets.

    If `p_is_bound`, no swap gave as large a difference: the probability is at most `p_value`. `least_visible`
    is the absolute difference that a test at 5 % finds with a power of 80 %, by the bootstrap's standard
    error. It is None where the rows cannot tell: no answer differs, or all rows are of one cluster.
    """

    difference: float
    low: float
    high: float
    p_value: float
    least_visible: float | None = None
    p_is_bound: bool = False


@dataclass(frozen=True, slots=True)
class PairedSums:
    """Sums of statistics by cluster, of shape [clusters, k], in slots: the score of a side is the mean of
    those of its slots. Scores that are `tested` have p-values from at most so many `shuffles`, others 1."""

    before: Sequence[Floats]
    after: Sequence[Floats]
    tested: Collection[str]
    shuffles: int


def shuffles_for(tests: int) -> int:
    """Return how many shuffles a family of that many tests needs: Holm multiplies its smallest p-value by
    their number, and so it can still be .01 for a thousand tests, .05 for five thousand."""
    return min(max(SHUFFLES, SHUFFLES_PER_TEST * tests - 1), MAX_SHUFFLES)


def paired_effects(
    first: ArrayLike,
    second: ArrayLike,
    scores: Mapping[str, Score],
    seed: int = 0,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    shuffles: int = SHUFFLES,
    level: float = 0.95,
) -> dict[str, Effect]:
    """Return the effect in every score from statistics of the same rows, both of shape [rows, k].

    Scores map sums of statistics, shape [n, k], to shape [n]. All use the same draws. `clusters` has a label
    for each row; whole clusters are drawn and swapped. p-values are at least 1 / (shuffles + 1); large ones
    need fewer shuffles. Raise ValueError if the shapes differ or there are no rows.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape or not len(before):
        raise ValueError(
            f"paired rows have equal shapes and are not none, found {before.shape} and {after.shape}"
        )
    sides = [cluster_sums(before, clusters)], [cluster_sums(after, clusters)]
    pair = PairedSums(*sides, scores if shuffles else (), shuffles)
    return effects_of_pairs([pair], scores, seed, resamples=resamples, level=level)[0]


def effects_of_pairs(
    pairs: Iterable[PairedSums],
    scores: Mapping[str, Score],
    seed: int = 0,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> list[dict[str, Effect]]:
    """Return the effects of each pair as `paired_effects` does, of all in less time. Pairs are taken one at a
    time, and no more are held than fit into memory."""
    effects: dict[int, dict[str, Effect]] = {}
    together: dict[int, SharedDraws] = {}
    for number, pair in enumerate(pairs):
        clusters = len(pair.before[0])
        draws = together.setdefault(clusters, SharedDraws(clusters, scores))
        draws.add(number, pair)
        if draws.is_full:
            effects |= together.pop(clusters).effects(seed, resamples, level)
    for draws in together.values():
        effects |= draws.effects(seed, resamples, level)
    return [effects[number] for number in sorted(effects)]


class SharedDraws:
    """Contrasts of the same number of clusters, and the sets of answers that they compare, each once."""

    def __init__(self, clusters: int, scores: Mapping[str, Score]) -> None:
        self._clusters = clusters
        self._scores = scores
        self._numbers: dict[bytes, int] = {}
        self._sums: list[Floats] = []
        self._pairs: dict[int, PairedSums] = {}
        self._slots: dict[int, list[tuple[Sets, int]]] = {}

    def add(self, number: int, pair: PairedSums) -> None:
        sides = zip(map(self._number, pair.before), map(self._number, pair.after), strict=True)
        self._slots[number] = [((min(sets), max(sets)), 1 if sets[0] <= sets[1] else -1) for sets in sides]
        self._pairs[number] = PairedSums((), (), pair.tested, pair.shuffles)

    def _number(self, sums: Floats) -> int:
        number = self._numbers.setdefault(blake2b(sums.tobytes()).digest(), len(self._sums))
        if number == len(self._sums):
            self._sums.append(sums)
        return number

    @property
    def is_full(self) -> bool:
        widths = sum(sums.shape[1] for sums in self._sums)
        kept = len(self._pairs) * len(self._scores)
        return bool((widths + kept) * max(self._clusters, SHUFFLES_AT_ONCE) > MAX_SHARED)

    def effects(self, seed: int, resamples: int, level: float) -> dict[int, dict[str, Effect]]:
        rng = np.random.default_rng(seed)
        measurands = [(number, name) for number in self._pairs for name in self._scores]
        totals = [sums.sum(axis=0)[None] for sums in self._sums]
        observed = self._differences(measurands, totals)
        drawn = self._resampled(measurands, rng, resamples)
        without = self._without_one(measurands, totals)
        p_values = self._swapped(observed, totals, rng)
        effects: dict[int, dict[str, Effect]] = {number: {} for number in self._pairs}
        for each in measurands:
            number, name = each
            difference = float(observed[each][0])
            low, high = percentile_interval(drawn[each], without[each], difference, level)
            p_value, is_bound = p_values.get(each, (1.0, True))
            visible = _least_visible(drawn[each], self._clusters)
            effects[number][name] = Effect(difference, low, high, p_value, visible, is_bound)
        return effects

    def _differences(
        self, measurands: Sequence[Measurand], sums: Sequence[Floats], moved: Sequence[Floats] = ()
    ) -> dict[Measurand, Floats]:
        """Return differences, shape [n], from the sums of each set in n draws; each two sets are scored once.
        They exchange those of their sums that are `moved`."""
        wanted: defaultdict[Sets, dict[str, None]] = defaultdict(dict)
        for number, name in measurands:
            for sets, _ in self._slots[number]:
                wanted[sets][name] = None
        scored: dict[tuple[Sets, str], Floats] = {}
        for (first, second), names in wanted.items():
            before, after = sums[first], sums[second]
            if moved:
                change = moved[second] - moved[first]
                before, after = before + change, after - change
            for name in names:
                scored[(first, second), name] = self._scores[name](after) - self._scores[name](before)
        return {each: self._mean_of_slots(each, scored) for each in measurands}

    def _mean_of_slots(self, measurand: Measurand, scored: Mapping[tuple[Sets, str], Floats]) -> Floats:
        number, name = measurand
        slots = [sign * scored[sets, name] for sets, sign in self._slots[number]]
        return np.asarray(np.add.reduce(slots) / len(slots), dtype=np.float64)

    def _resampled(
        self, measurands: Sequence[Measurand], rng: np.random.Generator, resamples: int
    ) -> dict[Measurand, Floats]:
        sizes = batch_sizes(resamples, self._clusters)
        draws = (draw_counts(rng, size, self._clusters) for size in sizes)
        return _concatenated([self._differences(measurands, self._sums_in(counts)) for counts in draws])

    def _without_one(
        self, measurands: Sequence[Measurand], totals: Sequence[Floats]
    ) -> dict[Measurand, Floats]:
        """Return the differences without one cluster, for each cluster; of a single one its own."""
        if self._clusters == 1:
            return self._differences(measurands, totals)
        parts, start = [], 0
        for size in batch_sizes(self._clusters, self._sums[0].shape[1]):
            sums = [total - own[start : start + size] for total, own in zip(totals, self._sums, strict=True)]
            parts.append(self._differences(measurands, sums))
            start += size
        return _concatenated(parts)

    def _swapped(
        self, observed: Mapping[Measurand, Floats], totals: Sequence[Floats], rng: np.random.Generator
    ) -> dict[Measurand, tuple[float, bool]]:
        """Return p-values, and which of them are bounds. Swapping stops at ENOUGH_AS_LARGE, and the p-value
        is then their share in the draws so far (Besag and Clifford 1991)."""
        shuffles = {number: pair.shuffles for number, pair in self._pairs.items()}
        as_large = {(number, name): 0 for number, pair in self._pairs.items() for name in pair.tested}
        decided: dict[Measurand, tuple[float, bool]] = {}
        drawn = 0
        for swaps in _swaps(rng, max(shuffles.values()), self._clusters):
            still = [each for each in as_large if each not in decided and drawn < shuffles[each[0]]]
            if not still:
                break
            moved = self._sums_in(swaps)
            for each, in_all in self._differences(still, totals, moved).items():
                differences = np.abs(in_all[: shuffles[each[0]] - drawn])
                hits = np.flatnonzero(differences >= abs(observed[each][0]) - EQUAL)
                needed = ENOUGH_AS_LARGE - as_large[each]
                if len(hits) >= needed:
                    decided[each] = ENOUGH_AS_LARGE / (drawn + int(hits[needed - 1]) + 1), False
                as_large[each] += len(hits)
            drawn += len(swaps)
        floors = {
            each: ((count + 1) / (shuffles[each[0]] + 1), not count) for each, count in as_large.items()
        }
        return floors | decided

    def _sums_in(self, draws: Floats) -> list[Floats]:
        """Return the sums of each set in draws that weigh its clusters, shape [n, clusters]: one of shape
        [n, k] a set, whose columns lie together, which scores read much faster."""
        ends = np.cumsum([sums.shape[1] for sums in self._sums])
        together = np.concatenate(self._sums, axis=1).T @ draws.T
        return [of_set.T for of_set in np.split(together, ends[:-1])]


def _concatenated(parts: Sequence[Mapping[Measurand, Floats]]) -> dict[Measurand, Floats]:
    return {each: np.concatenate([part[each] for part in parts]) for each in parts[0]}


def _least_visible(differences: Floats, clusters: int) -> float | None:
    """Return VISIBLE_ERRORS standard errors; the bootstrap's own are too small by sqrt(1 - 1 / clusters)."""
    if clusters < 2 or len(differences) < 2:
        return None
    error = float(differences.std(ddof=1)) * sqrt(clusters / (clusters - 1))
    return VISIBLE_ERRORS * error if error > EQUAL else None


def _swaps(rng: np.random.Generator, shuffles: int, clusters: int) -> Iterator[Floats]:
    """Draw which clusters are swapped, shape [n, clusters], in batches whose sums fit into memory."""
    for size in batch_sizes(shuffles, max(clusters, DRAWS_AT_ONCE // SHUFFLES_DRAWN)):
        bits: NDArray[np.uint8] = rng.integers(256, size=(size, (clusters + 7) // 8), dtype=np.uint8)
        for start in range(0, size, SHUFFLES_AT_ONCE):
            batch = bits[start : start + SHUFFLES_AT_ONCE]
            yield np.unpackbits(batch, axis=1, count=clusters).astype(np.float64)
