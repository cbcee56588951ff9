"""Rows are named by what stands in them, and draws change little when a row is added."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.identity import KeyedRows, draw, group_starts, question_of, row_identity, sort_key

KEYED = [(sort_key(row_identity(f"request {row}", "x")), row) for row in range(60)]
SEEDS = [f"0/0/{row_identity(f'test {row}', 'y')}" for row in range(3000)]


def test_equal_rows_differ_only_by_their_number() -> None:
    names = {row_identity("a", "b"), row_identity("a", "b", 1), row_identity("a", "b", 2)}
    assert len(names | {row_identity("b", "a"), row_identity("", "ab")}) == 5
    assert row_identity("a", "b") == row_identity("a", "b", 0)


def test_question_is_the_id_or_the_request() -> None:
    assert question_of("41-2", True, "sort") == question_of("41-3", True, "print") == "41"
    assert question_of("7", None, "sort") == "7"
    assert (
        question_of("7", False, "sort") == question_of("8", False, "sort") != question_of("7", False, "print")
    )


def test_rows_are_drawn_evenly() -> None:
    drawn = [tuple(draw(KEYED, 2, seed)) for seed in SEEDS]
    counted = Counter(row for rows in drawn for row in rows)
    assert len(counted) == 60
    assert 60 < min(counted.values()) < max(counted.values()) < 145
    pairs = Counter(frozenset(rows) for rows in drawn)
    assert max(pairs.values()) < 14  # 1.7 on average


@pytest.mark.parametrize("many", [1, 10**9])
def test_many_draws_from_the_same_rows_are_the_draws_of_each(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With numpy and without, and without the rows of a unit's own question."""
    monkeypatch.setattr("models.core.identity.MANY_ROWS", many)
    rows = KeyedRows(KEYED)
    for seed in SEEDS[:50]:
        for wanted in (0, 1, 3, 59, 60, 99):
            assert rows.draw(wanted, seed) == draw(KEYED, wanted, seed)
        own = set(draw(KEYED, 2, seed)) | {12}
        others = [(key, row) for key, row in KEYED if row not in own]
        assert rows.draw(3, seed, own) == draw(others, 3, seed)
    assert KeyedRows([]).draw(3, "seed") == []


def test_new_row_changes_only_the_draws_that_it_enters() -> None:
    new = (sort_key("new"), 99)
    changed = 0
    for seed in SEEDS:
        before, after = draw(KEYED, 2, seed), draw([new, *KEYED], 2, seed)
        assert after == before or (99 in after and [row for row in after if row != 99] == before[:1])
        changed += after != before
    assert changed < len(SEEDS) * 2 / 61 * 2


@given(st.sets(st.integers(0, 59)), st.integers(0, 70), st.text(max_size=9))
def test_draw_is_a_beginning_of_one_order(members: set[int], wanted: int, seed: str) -> None:
    keyed = [pair for pair in KEYED if pair[1] in members]
    order = draw(KEYED, 60, seed)
    assert draw(keyed, wanted, seed) == [row for row in order if row in members][:wanted]


def test_draw_is_the_same_in_every_release() -> None:
    assert draw(KEYED, 4, "0/0/0") == [57, 36, 28, 38]


def groups(names: list[str], size: int) -> list[list[str]]:
    starts = group_starts(enumerate(names), size)
    ends = [*sorted(starts), len(names)]
    assert ends[0] == 0
    return [names[start:end] for start, end in itertools.pairwise(ends)]


@given(st.integers(1, 30), st.integers(0, 2000), st.integers(0, 10**6))
def test_new_row_regroups_few(size: int, place: int, seed: int) -> None:
    names = [f"{seed} {row}" for row in range(2000)]
    before, after = (groups(each, size) for each in (names, [*names[:place], "new", *names[place:]]))
    assert all(len(group) <= size for group in (*before, *after))
    assert [name for group in before for name in group] == names
    # A run of groups has five on average.
    assert sum(group not in before for group in after) <= 60
    assert len(before) <= 2000 / size * 1.35 + 4
