"""Agreement of verdicts beyond what chance gives: 1 is perfect, 0 is chance, below 0 is worse than chance.

Both coefficients are 1 less the disagreement that is seen over that by chance. Their intervals are bootstraps
over questions. A bootstrap of few disagreements is too short, and of none it tells nothing: there it is the
interval of the share that agrees, with the disagreement by chance as it is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from models.core.metrics.proportions import share_interval
from models.core.metrics.significance import Floats, Interval, bootstrap

# Fewer questions with a disagreement are few.
ENOUGH_DISAGREE = 10
# Maps sums of counts [resamples, k] to the disagreement that is seen and that by chance, both [resamples].
Disagreements = Callable[[Floats], tuple[Floats, Floats]]
Label = TypeVar("Label", bound=Hashable)


def cohen_kappa(pairs: Mapping[tuple[Label, Label], int]) -> float | None:
    """Return the kappa of two sources that judged the same items (Cohen, 1960).

    `pairs` counts the items by both labels. kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of equal
    labels and p_e that of two sources with the same marginal shares that label at random. None if there are
    no items, or if both sources give all of them one label, which leaves nothing to measure.
    """
    items = sum(pairs.values())
    first, second = Counter[Label](), Counter[Label]()
    for (one, other), count in pairs.items():
        first[one] += count
        second[other] += count
    equal = items * sum(count for (one, other), count in pairs.items() if one == other)
    by_chance = sum(count * second[label] for label, count in first.items())
    return (equal - by_chance) / (items * items - by_chance) if items * items > by_chance else None


def krippendorff_alpha(units: Mapping[tuple[Label, ...], int]) -> float | None:
    """Return the alpha of nominal labels, of any number of sources (Krippendorff, 2011, section C).

    `units` counts items by the labels that they were given, without missing ones, in any order. An item with
    a single label pairs with nothing and is left out. alpha = 1 - D_o / D_e, the observed disagreement
    within items over that among all labels. None without pairs, or if all labels are equal.
    """
    labels, disagreeing = Counter[Label](), 0.0
    for values, count in units.items():
        if len(values) < 2:
            continue
        own = Counter(values)
        pairs = len(values) ** 2 - sum(number**2 for number in own.values())
        disagreeing += count * pairs / (len(values) - 1)
        for label, number in own.items():
            labels[label] += count * number
    total = labels.total()
    expected = total**2 - sum(number**2 for number in labels.values())
    return 1 - (total - 1) * disagreeing / expected if expected else None


def kappa_interval(questions: ArrayLike) -> Interval:
    """Return the 95 % interval of `cohen_kappa`. `questions` has shape [questions, 4]: of each, the items
    that both call right, only the first, only the second, and neither. Raise ValueError without items."""
    counts = np.asarray(questions, dtype=np.float64)
    return _interval(counts, _kappa_parts, counts[:, 0] + counts[:, 3], counts.sum(axis=1))


def alpha_interval(questions: ArrayLike) -> Interval:
    """Return the 95 % interval of `krippendorff_alpha` of labels right and wrong. `questions` has shape
    [questions, 3]: of each, the right labels, the wrong ones, and the sum of its items' `pair_disagreement`.
    Raise ValueError without labels."""
    sums = np.asarray(questions, dtype=np.float64)
    labels = sums[:, 0] + sums[:, 1]
    return _interval(sums, _alpha_parts, labels - sums[:, 2], labels)


def pair_disagreement(right: int, labels: int) -> float:
    """Return the unequal pairs of an item's labels, at least two, over the number of its labels less one."""
    return 2 * right * (labels - right) / (labels - 1)


def _interval(counts: Floats, parts: Disagreements, agreeing: Floats, items: Floats) -> Interval:
    def coefficient(sums: Floats) -> Floats:
        seen, by_chance = parts(sums)
        # Where nothing varies, nothing disagrees.
        return 1 - np.divide(seen, by_chance, out=np.zeros_like(seen), where=by_chance > 0)

    by_chance = float(parts(counts.sum(axis=0)[None])[1][0])
    low, high = bootstrap(counts, coefficient, seed=0)
    few = low == high or np.count_nonzero(agreeing < items) < ENOUGH_DISAGREE
    if few and by_chance:
        low, high = (1 - (1 - share / 100) / by_chance for share in share_interval(agreeing, items))
    return low, min(1.0, high)


def _kappa_parts(sums: Floats) -> tuple[Floats, Floats]:
    both, first, second, _ = sums.T
    items = sums.sum(axis=1)
    right, other = (both + first) / items, (both + second) / items
    return (first + second) / items, right * (1 - other) + other * (1 - right)


def _alpha_parts(sums: Floats) -> tuple[Floats, Floats]:
    right, wrong, disagreeing = sums.T
    labels = right + wrong
    return disagreeing / labels, 2 * right * wrong / (labels * (labels - 1))
