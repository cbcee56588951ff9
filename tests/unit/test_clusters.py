"""Tests and intervals that keep the rows of a cluster together, and what a test could have seen."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.metrics.paired_effects import (
    MAX_SHUFFLES,
    SHUFFLES,
    Effect,
    paired_effects,
    shuffles_for,
)
from models.core.metrics.significance import (
    Floats,
    bootstrap,
    cluster_sums,
    clustered_mcnemar,
    holm,
    mcnemar,
)


def mean(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]


def counted(values: Floats) -> Floats:
    """Return values with the number of rows beside them, so that `mean` is their mean."""
    return np.stack([values, np.ones_like(values)], axis=-1)


def effect_of(before: Floats, after: Floats, **options: Any) -> Effect:
    return paired_effects(counted(before), counted(after), {"mean": mean}, **options)["mean"]


def test_sums_of_clusters_are_in_the_order_of_their_first_rows() -> None:
    sums = cluster_sums([[1, 2], [3, 4], [5, 6]], ["b", "a", "b"])
    assert sums.tolist() == [[6, 8], [3, 4]]


def test_a_cluster_of_its_own_for_each_row_changes_nothing() -> None:
    before, after = np.random.default_rng(1).normal(size=(2, 40))
    labels = [f"row {number}" for number in range(40)]
    assert bootstrap(counted(before), mean, 3, clusters=labels) == bootstrap(counted(before), mean, 3)
    assert effect_of(before, after, clusters=labels) == effect_of(before, after)


def test_rows_that_are_repeated_within_their_cluster_tell_nothing_new() -> None:
    draw = np.random.default_rng(2)
    before = draw.normal(size=60)
    after = before + draw.normal(0.3, 1, size=60)
    once = effect_of(before, after)
    five = [np.repeat(each, 5) for each in (before, after)]
    repeated = effect_of(five[0], five[1], clusters=np.repeat(np.arange(60), 5))
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    assert repeated.p_value == once.p_value
    apart = effect_of(five[0], five[1])
    assert apart.high - apart.low < 0.6 * (once.high - once.low)


def test_chance_in_clusters_is_significant_as_often_as_the_level_says() -> None:
    draw = np.random.default_rng(4)
    clusters = np.repeat(np.arange(30), 4)
    p_values = []
    for seed in range(300):
        shift = np.repeat(draw.normal(size=(2, 30)), 4, axis=1) + draw.normal(0, 0.3, size=(2, 120))
        options = {"seed": seed, "clusters": clusters, "resamples": 2, "shuffles": 199}
        p_values.append(effect_of(shift[0], shift[1], **options).p_value)
    assert 6 <= sum(value <= 0.05 for value in p_values) <= 26


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=9))
def test_clustered_mcnemar_counts_all_swaps(rows: list[tuple[int, int, int]]) -> None:
    first, second, clusters = zip(*rows, strict=True)
    changes = [sum(b - a for a, b, label in rows if label == each) for each in set(clusters)]
    totals = [abs(sum(s * c for s, c in zip(signs, changes, strict=True)))
              for signs in product((1, -1), repeat=len(changes))]  # fmt: skip
    expected = sum(total >= abs(sum(changes)) for total in totals) / len(totals)
    assert clustered_mcnemar(first, second, clusters) == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_clustered_mcnemar_of_single_rows_is_mcnemar(only_first: int, only_second: int) -> None:
    first = [1] * only_first + [0] * only_second + [1]
    second = [0] * only_first + [1] * only_second + [1]
    assert clustered_mcnemar(first, second) == pytest.approx(mcnemar(only_first, only_second), abs=1e-9)


def test_clustered_mcnemar_of_many_rows_is_quick_and_agrees() -> None:
    first, second = np.zeros(200_000, dtype=int), np.zeros(200_000, dtype=int)
    first[:100_000], second[100_000:200_000] = 1, 1
    second[50_000:50_700] = 1
    clusters = np.arange(200_000) // 2
    p_value = clustered_mcnemar(first, second, clusters)
    # 99,650 clusters change by 2: their sum has a standard deviation of 631, and 700 is 1.11 of it.
    assert p_value == pytest.approx(0.267, abs=0.01)


def test_a_p_value_at_the_floor_of_its_shuffles_is_a_bound() -> None:
    before = np.zeros(40)
    effect = effect_of(before, before + 1, shuffles=999)
    assert (effect.p_value, effect.p_is_bound) == (0.001, True)
    assert not effect_of(before, before + np.where(np.arange(40) % 3, 1, -1), shuffles=999).p_is_bound


def test_a_large_p_value_needs_few_shuffles_and_stays_what_it_is() -> None:
    before, after = np.random.default_rng(7).normal(size=(2, 50))
    sides = counted(before), counted(after)
    drawn: list[int] = []

    def watched(sums: Floats) -> Floats:
        drawn.append(len(sums))
        return mean(sums)

    exact = effect_of(before, after, shuffles=1_999).p_value
    quick = paired_effects(*sides, {"mean": watched}, resamples=2, shuffles=99_999)["mean"].p_value
    assert quick == pytest.approx(exact, rel=0.1)
    assert sum(drawn) / 2 < 50_000


def test_shuffles_grow_with_the_family_so_that_corrected_values_can_be_small() -> None:
    assert shuffles_for(1) == shuffles_for(100) == SHUFFLES
    for tests in (101, 600, 1_000):
        floor = 1 / (shuffles_for(tests) + 1)
        assert holm([floor, *[1.0] * (tests - 1)])[0] <= 0.0101
    assert shuffles_for(10**9) == MAX_SHUFFLES


def test_the_least_visible_difference_is_found_in_four_of_five_cases() -> None:
    draw = np.random.default_rng(5)
    before = draw.normal(size=100)
    noise = draw.normal(size=100)
    visible = effect_of(before, before + noise).least_visible or 0.0
    assert visible == pytest.approx(2.8016 * noise.std(ddof=1) / 10, rel=0.08)
    found = 0
    for seed in range(200):
        after = before + draw.normal(visible, 1, size=100)
        found += effect_of(before, after, seed=seed, resamples=2, shuffles=199).p_value <= 0.05
    assert 0.7 <= found / 200 <= 0.9


def test_nothing_visible_is_known_of_equal_answers_or_of_one_cluster() -> None:
    before, after = np.random.default_rng(1).normal(size=(2, 20))
    same = effect_of(before, before)
    assert (same.least_visible, same.p_value, same.p_is_bound) == (None, 1.0, False)
    one = effect_of(before, after, clusters=["q"] * 20)
    assert (one.least_visible, one.p_value) == (None, 1.0)
