"""Coefficients of agreement have the values of the literature."""

from __future__ import annotations

from collections import Counter

import pytest

from models.core.metrics.agreement import cohen_kappa, krippendorff_alpha

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
