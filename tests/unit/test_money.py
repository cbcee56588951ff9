"""Amounts are printed with as many digits as they need."""

from __future__ import annotations

import pytest

from models.core.display import budget_usd, usd


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.0000"),
        (1, "$0.000000001"),
        (420_000, "$0.00042"),
        (48_000, "$0.000048"),
        (4_000_000, "$0.0040"),
        (1_234_567_891, "$1.2346"),
        (12_345_000_000_000, "$12,345.0000"),
        (-420_000, "$-0.00042"),
    ],
)
def test_small_amount_has_two_digits_that_count(nano: int, text: str) -> None:
    assert usd(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(400_000, "$0.0004"), (0, "$0.00"), (5 * 10**9, "$5.00"), (1_500_000_000, "$1.50"), (1, "$0.000000001")],
)
def test_budget_is_printed_exactly(nano: int, text: str) -> None:
    assert budget_usd(nano) == text
