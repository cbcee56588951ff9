"""Splits are dealt out by question."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.core.words import question_group
from producer.results.export.splits import Splitter, parse_splits

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(st.sets(st.integers(0, 10**6), min_size=1), st.integers(0, 100))
def test_a_question_is_in_one_split_and_no_split_is_empty(numbers: set[int], seed: int) -> None:
    ids = [f"{number}-{phrasing}" for number in numbers for phrasing in range(3)]
    splitter = Splitter.of(SHARES, seed, {"train": map(question_group, ids)})
    ids_by_split: dict[str, set[str]] = {}
    for row, each in enumerate(ids):
        ids_by_split.setdefault(question_group(each), set()).add(splitter.split_of(row))
    assert all(len(splits) == 1 for splits in ids_by_split.values())
    if len(numbers) >= len(SHARES):
        assert set().union(*ids_by_split.values()) == set(SHARES)


def test_shares_are_met_by_many_questions() -> None:
    splitter = Splitter.of(SHARES, 0, {"train": map(str, range(10_000))})
    counted = Counter(splitter.split_of(row) for row in range(10_000))
    for name, share in SHARES.items():
        assert abs(counted[name] - share * 10_000) < 5 * (10_000 * share * (1 - share)) ** 0.5


@given(st.sets(st.integers(0, 10**6), min_size=30, max_size=60), st.integers(0, 100), st.integers(0, 60))
def test_a_new_question_moves_no_other(numbers: set[int], seed: int, place: int) -> None:
    before = [str(number) for number in sorted(numbers)]
    after = [*before[:place], "new", *before[place:]]
    shares = {"train": 0.8, "test": 0.2}
    old, new = (Splitter.of(shares, seed, {"train": each}) for each in (before, after))
    splits = {question: new.split_of(row) for row, question in enumerate(after)}
    assert all(splits[question] == old.split_of(row) for row, question in enumerate(before))


def test_only_numbers_name_a_phrasing() -> None:
    """The ids of other datasets begin alike: all of them would be one question."""
    assert question_group("41067960-46") == "41067960"
    assert [question_group(name) for name in ("task-7", "7", "2-b", "")] == ["task-7", "7", "2-b", ""]


def test_shares_are_read_exactly() -> None:
    shares = {"train": 0.7, "validation": 0.2, "test": 0.1}
    assert parse_splits("train=0.7, validation = 0.2,test=0.1") == shares
