"""Agreement of verdicts beyond what chance gives: 1 is perfect, 0 is chance, below 0 is worse than chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeVar

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
