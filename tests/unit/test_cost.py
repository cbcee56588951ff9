"""Money is counted in whole billionths of a dollar, without drift."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.experiment.endpoints import Price
from models.core.types import Usage
from storage.ledger.purchases import cost_nano_usd

tokens = st.integers(0, 10**9)
# Dollars per million tokens, in millionths of a dollar.
prices = st.integers(0, 10**9)


@given(tokens, tokens, tokens, prices, prices, prices)
def test_cost_is_the_exact_sum_rounded_once(
    fresh: int, cached: int, completion: int, price: int, cached_price: int, output_price: int
) -> None:
    usage = Usage(fresh + cached, cached, completion)
    rates = Price(input=price / 10**6, cached_input=cached_price / 10**6, output=output_price / 10**6)
    exact = Fraction(fresh * price + cached * cached_price + completion * output_price, 1000)
    assert cost_nano_usd(usage, rates) == round(exact)


@given(tokens, tokens, prices)
def test_cached_tokens_cost_the_same_unless_priced_apart(fresh: int, cached: int, price: int) -> None:
    rates = Price(input=price / 10**6)
    assert cost_nano_usd(Usage(fresh + cached, cached, 5), rates) == cost_nano_usd(
        Usage(fresh + cached), rates
    )


@pytest.mark.parametrize(
    ("usage", "price", "dollars"),
    [
        (Usage(1_000_000, 0, 0), Price(input=0.15), 0.15),
        (Usage(1_000_000, 400_000, 1_000_000), Price(input=0.15, cached_input=0.075, output=0.6), 0.72),
        (Usage(1_000_000, 1_000_000, 0), Price(input=1, cached_input=0), 0.0),
        (Usage(1_000_000, 0, 0), Price(input=0.01875), 0.01875),
        (Usage(), Price(input=9, output=9), 0.0),
    ],
)
def test_cost_in_dollars(usage: Usage, price: Price, dollars: float) -> None:
    assert cost_nano_usd(usage, price) / 1e9 == dollars
