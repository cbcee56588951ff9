"""Exemplars are drawn at random, yet the same way wherever they are drawn."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.few_shot import draw_exemplars

POOL = list(range(100, 160))
pools = st.lists(st.integers(1, 10_000), min_size=1, max_size=60, unique=True)


@st.composite
def draws(draw_from: st.DrawFn) -> tuple[list[int], frozenset[int], int, str]:
    pool = draw_from(pools)
    accepted = frozenset(draw_from(st.lists(st.sampled_from(pool), unique=True)))
    return pool, accepted, draw_from(st.integers(0, 80)), draw_from(st.text(max_size=5))


@given(draws())
def test_distinct_members_of_the_accepted_are_drawn(
    arguments: tuple[list[int], frozenset[int], int, str],
) -> None:
    _, accepted, shots, _ = arguments
    chosen = draw_exemplars(*arguments)
    assert len(chosen) == len(set(chosen)) == min(shots, len(accepted))
    assert set(chosen) <= accepted


@given(draws())
def test_same_seed_draws_the_same(arguments: tuple[list[int], frozenset[int], int, str]) -> None:
    assert draw_exemplars(*arguments) == draw_exemplars(*arguments)


@given(draws(), st.integers(0, 80))
def test_fewer_shots_are_the_first_of_more(
    arguments: tuple[list[int], frozenset[int], int, str], fewer: int
) -> None:
    pool, accepted, shots, seed = arguments
    assert (
        draw_exemplars(pool, accepted, min(fewer, shots), seed)
        == draw_exemplars(*arguments)[: min(fewer, shots)]
    )


@given(draws(), st.data())
def test_cells_meet_the_rows_in_the_same_order(
    arguments: tuple[list[int], frozenset[int], int, str], data: st.DataObject
) -> None:
    """A smaller set gives exactly its members of the larger draw, in the larger draw's order."""
    pool, accepted, _, seed = arguments
    fewer = frozenset(data.draw(st.sets(st.sampled_from(sorted(accepted))) if accepted else st.just(set())))
    everything = draw_exemplars(pool, accepted, len(accepted), seed)
    assert draw_exemplars(pool, fewer, len(fewer), seed) == [row for row in everything if row in fewer]


def test_single_accepted_row_is_found() -> None:
    pool = list(range(2_000))
    for row in (0, 777, 1_999):
        assert draw_exemplars(pool, frozenset({row}), 4, "seed") == [row]
    assert draw_exemplars(pool, frozenset(), 4, "seed") == []
    assert draw_exemplars([], frozenset(), 2, "seed") == []


def test_rows_are_drawn_evenly() -> None:
    drawn = Counter(
        row for test in range(3_000) for row in draw_exemplars(POOL, frozenset(POOL), 2, f"0/0/{test}")
    )
    assert set(drawn) == set(POOL)
    assert 60 < min(drawn.values()) < max(drawn.values()) < 145


def test_draw_is_the_same_in_every_release() -> None:
    """A rerun of an old experiment asks what it asked then."""
    assert draw_exemplars(POOL, frozenset(POOL), 4, "0/0/0") == [132, 134, 119, 143]
