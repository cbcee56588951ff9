"""What a ranking of passages is worth to a request whose right passages are known."""

from __future__ import annotations

from collections.abc import Sequence

from models.metrics.intervals import Floats, Interval, bootstrap


def recall(found: Sequence[str], right: Sequence[str], k: int) -> float:
    """The share of the `right` ids, at least one, among the first `k` found, each id counted once."""
    wanted = set(right)
    return len(wanted.intersection(list(dict.fromkeys(found))[:k])) / len(wanted)


def reciprocal_rank(found: Sequence[str], right: Sequence[str]) -> float:
    """1 / the place of the first right id, from 1; 0 where none is found."""
    wanted = set(right)
    places = (place for place, name in enumerate(dict.fromkeys(found), 1) if name in wanted)
    return 1 / next(places, float("inf"))


def mean_percent(values: Sequence[float]) -> float:
    """0 where there are no values."""
    return 100 * sum(values) / len(values) if values else 0.0


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The 95 % bootstrap interval of the mean of at least one value, in percent."""

    def mean(sums: Floats) -> Floats:
        return 100 * sums[:, 0] / len(values)

    return bootstrap([[value] for value in values], mean, seed)
