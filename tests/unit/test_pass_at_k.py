"""pass@k against values worked out by hand."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from models.core.metrics.scores import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize(
    ("samples", "correct", "k", "expected"),
    [
        (1, 1, 1, 100.0),
        (1, 0, 1, 0.0),
        (4, 1, 1, 25.0),
        # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
        (4, 1, 2, 50.0),
        # 1 - C(3, 3) / C(5, 3) = 1 - 1 / 10
        (5, 2, 3, 90.0),
        # too few wrong ones to draw three
        (5, 3, 3, 100.0),
        (200, 0, 100, 0.0),
    ],
)
def test_pass_at_k_of_one_row(samples: int, correct: int, k: int, expected: float) -> None:
    assert pass_at_k(samples, correct, k) == pytest.approx(expected)


def test_pass_at_k_is_the_share_of_draws_with_a_right_sample() -> None:
    samples, correct, k = 7, 2, 3
    draws = list(combinations(range(samples), k))
    share = sum(min(draw) < correct for draw in draws) / len(draws)
    assert pass_at_k(samples, correct, k) == pytest.approx(100 * share)


def test_pass_at_k_grows_with_k() -> None:
    draw = random.Random(0)
    for _ in range(50):
        samples = draw.randint(1, 40)
        correct = draw.randint(0, samples)
        values = [pass_at_k(samples, correct, k) for k in range(1, samples + 1)]
        assert values == sorted(values)
        assert values[0] == pytest.approx(100 * correct / samples)


def test_pass_at_k_is_the_mean_over_rows() -> None:
    assert mean_pass_at_k([(4, 1), (4, 4), (2, 0)], 1) == pytest.approx((25 + 100 + 0) / 3)
    assert mean_pass_at_k([], 1) == 0.0


@pytest.mark.parametrize(("samples", "correct", "k"), [(1, 0, 2), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_impossible_counts_raise(samples: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(samples, correct, k)
