"""pass@k: how often at least one of k samples meets the tests (Chen et al. 2021, formula 1)."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased estimate in percent for one row: 100 (1 - C(n - c, k) / C(n, k)), where `correct` (c) of
    `samples` (n) are right.

    ValueError where fewer than k samples were drawn, or more are right than were drawn.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples and k above 0, found {samples}")
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} of {samples} samples cannot be right")
    return 100.0 * (1.0 - comb(samples - correct, k) / comb(samples, k))


def mean_pass_at_k(rows: Sequence[tuple[int, int]], k: int) -> float:
    """The mean over rows of (samples, correct); 0 where there are no rows."""
    return sum(pass_at_k(samples, correct, k) for samples, correct in rows) / len(rows) if rows else 0.0
