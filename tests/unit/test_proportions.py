"""Intervals of shares against theory and by simulation: Wilson's, with what clusters of answers are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.metrics.proportions import share_interval, wilson
from models.core.metrics.quantiles import t_quantile
from models.core.metrics.scores import mean_interval, pass_interval
from tests.bench.coverage import share_coverage


def test_nothing_of_many_is_no_empty_interval() -> None:
    assert wilson(0, 540) == pytest.approx((0.0, 0.706), abs=0.001)
    assert share_interval([0] * 540, [1] * 540) == wilson(0, 540)
    # 540 wrong rows of 350 questions may be worth 317 (their number over 920 / 540), and three seeds one.
    rows = np.bincount([*range(350), *range(190)])
    assert share_interval([0] * 350, rows)[1] == pytest.approx(1.21, abs=0.01)
    assert share_interval([0] * 540, [3] * 540)[1] == pytest.approx(0.71, abs=0.01)
    low, high = share_interval(rows, rows)
    assert (low, high) == pytest.approx((100 - 1.21, 100), abs=0.01)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_one_answer_a_cluster_is_wilson(right: list[bool]) -> None:
    assert share_interval(right, [1] * len(right)) == pytest.approx(wilson(sum(right), len(right)))


def test_clusters_that_are_alike_tell_no_more_than_one_answer_each() -> None:
    right = np.arange(300) % 3 == 0
    assert share_interval(4 * right, np.full(300, 4)) == pytest.approx(wilson(100, 300), abs=0.1)


def test_answers_that_are_independent_within_clusters_keep_their_number() -> None:
    right = np.random.default_rng(2).binomial(4, 0.3, size=300)
    low, high = wilson(int(right.sum()), 1200)
    clustered = share_interval(right, np.full(300, 4))
    assert high - low <= clustered[1] - clustered[0] <= 1.2 * (high - low)


def test_one_cluster_of_several_answers_tells_nothing() -> None:
    assert share_interval([2], [3]) == (0, 100)
    assert share_interval([2, 0], [3, 0]) == (0, 100)
    for parts, wholes in (([], []), ([0], [0])):
        with pytest.raises(ValueError, match="at least one row"):
            share_interval(parts, wholes)


def test_pass_at_k_of_rows_that_all_pass_or_all_fail_is_no_empty_interval() -> None:
    for k in (1, 5):
        low, high = pass_interval([(5, 5)] * 20, k)
        assert 80 < low < 84
        assert high == 100
        low, high = pass_interval([(5, 0)] * 20, k, clusters=[number // 2 for number in range(20)])
        assert low == 0
        assert 27 < high < 35
    assert mean_interval([0.0] * 20) == wilson(0, 20)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (7, 2.365), (30, 2.042), (349, 1.967)]
)
def test_t_quantiles_are_those_of_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, abs=0.005)
    assert t_quantile(0.025, degrees) == pytest.approx(-quantile, abs=0.005)


@pytest.mark.parametrize(("percent", "correlation"), [(10, 0.3), (10, 0.8), (50, 0.8)])
def test_intervals_hold_the_true_share_as_often_as_they_say(percent: float, correlation: float) -> None:
    coverage = share_coverage(percent, 100, 65, correlation, seeds=3, trials=400)
    assert 92 <= coverage.held <= 98.5
