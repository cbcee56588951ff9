"""Coefficients of agreement have the values of the literature."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from models.core.metrics.agreement import (
    alpha_interval,
    cohen_kappa,
    kappa_interval,
    krippendorff_alpha,
    pair_disagreement,
)

# Krippendorff (2011), sections C and D: four observers, twelve units, labels 1 to 5, 0 where one is missing.
OBSERVERS = ("123321412000", "123322412503", "033323422510", "123324412510")


def test_kappa_is_that_of_cohens_example() -> None:
    """Cohen (1960), table 1: 200 cases, three categories."""
    table = ((88, 14, 18), (10, 40, 10), (2, 6, 12))
    pairs = {(row, column): count for row, line in enumerate(table) for column, count in enumerate(line)}
    assert cohen_kappa(pairs) == pytest.approx(0.492, abs=0.0005)


def test_kappa_of_two_rules() -> None:
    agree = {(True, True): 20, (False, False): 15}
    assert cohen_kappa(agree | {(True, False): 5, (False, True): 10}) == pytest.approx(0.4)
    assert cohen_kappa(agree) == 1
    assert cohen_kappa({(True, False): 5, (False, True): 5}) == -1
    assert cohen_kappa({(True, True): 9, (True, False): 1}) == 0


@pytest.mark.parametrize("pairs", [{}, {(True, True): 7}, {(True, True): 0}])
def test_kappa_is_none_where_nothing_varies(pairs: dict[tuple[bool, bool], int]) -> None:
    assert cohen_kappa(pairs) is None


def test_alpha_is_that_of_krippendorffs_examples() -> None:
    two = Counter[tuple[str, ...]](zip("0100000010", "1110010000", strict=True))
    assert krippendorff_alpha(two) == pytest.approx(0.095, abs=0.0005)  # section A
    four = Counter(tuple(label for label in unit if label != "0") for unit in zip(*OBSERVERS, strict=True))
    assert krippendorff_alpha(four) == pytest.approx(0.743, abs=0.0005)


def test_alpha_does_not_ask_who_gave_a_label() -> None:
    assert krippendorff_alpha({(True, False): 3, (True, True): 4}) == krippendorff_alpha(
        {(False, True): 3, (True, True): 4}
    )


def test_alpha_is_none_where_nothing_varies_or_pairs() -> None:
    assert krippendorff_alpha({}) is None
    assert krippendorff_alpha({(True,): 3, (False,): 2}) is None
    assert krippendorff_alpha({(True, True): 3}) is None


def test_intervals_hold_their_coefficients() -> None:
    """60 answers, of which 40, 5, 7 and 8 are right by both, the first, the second and neither."""
    kinds = (0,) * 40 + (1,) * 5 + (2,) * 7 + (3,) * 8
    kappa = cohen_kappa({(True, True): 40, (True, False): 5, (False, True): 7, (False, False): 8})
    low, high = kappa_interval(np.eye(4)[list(kinds)])
    assert kappa is not None
    # The standard error of Fleiss, Cohen and Everitt (1969) is 0.1355 here.
    assert (kappa - low, high - kappa) == (pytest.approx(0.27, abs=0.05), pytest.approx(0.27, abs=0.05))
    rows = [(right, 3 - right, pair_disagreement(right, 3)) for right in (0, 1, 2, 3, 3, 3) * 10]
    alpha = krippendorff_alpha({(True,) * right + (False,) * wrong: 1 for right, wrong, _ in rows[:3]} | {
        (True,) * 3: 3})  # fmt: skip
    low, high = alpha_interval(rows)
    assert alpha is not None
    assert -1 < low < alpha < high < 1


def test_rows_of_one_question_are_worth_less() -> None:
    kinds = np.eye(4)[[0] * 40 + [1] * 5 + [2] * 5 + [3] * 30]
    alone, four_alike = kappa_interval(kinds), kappa_interval(4 * kinds[::4])
    assert four_alike[1] - four_alike[0] > 1.5 * (alone[1] - alone[0])


def test_full_agreement_of_few_is_not_certain() -> None:
    """Wilson lets 6 % of 60 agreeing answers disagree, which is 12 % of what chance leaves, 50 %."""
    low, high = kappa_interval(np.eye(4)[[0, 3] * 30])
    assert (low, high) == (pytest.approx(0.88, abs=0.01), pytest.approx(1))
    low, high = alpha_interval([(2, 0, 0.0), (0, 2, 0.0)] * 30)
    assert (low, high) == (pytest.approx(0.88, abs=0.01), pytest.approx(1))


def test_intervals_repeat_and_hold_the_truth_as_often_as_they_say() -> None:
    """100 rows of 200 runs, each with a true kappa of 0.6: 93 to 99 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    runs = rng.multinomial(1, [0.4, 0.1, 0.1, 0.4], size=(200, 100))
    intervals = [kappa_interval(run) for run in runs]
    assert kappa_interval(runs[0]) == intervals[0]
    assert 0.93 <= np.mean([low <= 0.6 <= high for low, high in intervals]) <= 0.99
