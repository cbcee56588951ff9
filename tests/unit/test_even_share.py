"""The even share of a queue that each run gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.feeding.shares import even_share


@pytest.mark.parametrize(
    ("together", "wanted", "share"),
    [
        (128, [], 128),
        (128, [128], 128),
        (128, [128, 128], 64),
        (128, [128, 10], 118),
        (100, [100, 10, 100], 45),
        (100, [30, 30], 70),
        (4, [9, 9, 9, 9, 9], 0),
    ],
)
def test_even_share_by_hand(together: int, wanted: list[int], share: int) -> None:
    assert even_share(together, wanted) == share


@given(st.integers(0, 1000), st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_even_share_leaves_only_an_indivisible_rest(together: int, wanted: list[int]) -> None:
    share = even_share(together, wanted)
    had = sum(min(share, want) for want in wanted)
    assert had <= together
    if had < min(together, sum(wanted)):
        # Only what cannot be divided evenly.
        assert together - had < len(wanted)
