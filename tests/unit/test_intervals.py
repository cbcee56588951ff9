"""The bootstrap against theory, and its determinism."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.metrics.significance import Floats, bootstrap


def mean_of(rows: int) -> Callable[[Floats], Floats]:
    return lambda sums: sums[:, 0] / rows


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(10, 2, size=(2000, 1))
    low, high = bootstrap(values, mean_of(2000), seed=0, resamples=4000)
    margin = 1.96 * values.std() / math.sqrt(2000)
    assert low == pytest.approx(values.mean() - margin, abs=margin / 10)
    assert high == pytest.approx(values.mean() + margin, abs=margin / 10)


def test_a_lower_level_is_narrower() -> None:
    values = np.arange(100.0)[:, None]
    wide = bootstrap(values, mean_of(100), seed=1, level=0.99)
    narrow = bootstrap(values, mean_of(100), seed=1, level=0.5)
    assert wide[0] < narrow[0] < 49.5 < narrow[1] < wide[1]


def test_the_seed_decides() -> None:
    values = np.arange(50.0)[:, None]
    assert bootstrap(values, mean_of(50), seed=1) == bootstrap(values, mean_of(50), seed=1)
    assert bootstrap(values, mean_of(50), seed=1) != bootstrap(values, mean_of(50), seed=2)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(-5, 5))
def test_constant_rows_have_no_spread(rows: int, value: int) -> None:
    assert bootstrap(np.full((rows, 1), value), mean_of(rows), seed=0, resamples=20) == (value, value)


def test_every_resample_draws_as_many_rows_as_there_are() -> None:
    seen: list[Floats] = []

    def count(sums: Floats) -> Floats:
        seen.append(sums[:, 0])
        return sums[:, 0]

    low, high = bootstrap(np.ones((3000, 1)), count, seed=0, resamples=777)
    assert low == high == 3000
    # The score itself and those without one row, of 2,999, are the jackknife's.
    resampled = [sums for sums in seen if sums[0] == 3000 and len(sums) > 1]
    assert sum(map(len, resampled)) == 777
    assert len(resampled) > 1


def test_memory_does_not_grow_with_resamples() -> None:
    values = np.ones((20_000, 1))
    tracemalloc.start()
    bootstrap(values, mean_of(20_000), seed=0, resamples=300)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20  # all at once would be 96 MB of 64-bit draws, weights aside


def test_empty_rows_raise() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap(np.zeros((0, 3)), mean_of(1), seed=0)
