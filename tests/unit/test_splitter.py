"""Splits are dealt out by question."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.core.words import question_group
from producer.results.export.splits import Splitter, parse_splits

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(st.sets(st.integers(0, 10**6), min_size=1), st.integers(0, 100))
def test_shares_are_met_to_one_question_and_no_split_is_empty(numbers: set[int], seed: int) -> None:
    ids = [f"{number}-{phrasing}" for number in numbers for phrasing in range(3)]
    splitter = Splitter.of(SHARES, seed, ids)
    ids_by_split: dict[str, set[str]] = {}
    for each in ids:
        ids_by_split.setdefault(question_group(each), set()).add(splitter.split_of(each))
    assert all(len(splits) == 1 for splits in ids_by_split.values())
    counted = Counter(name for splits in ids_by_split.values() for name in splits)
    if len(numbers) >= len(SHARES):
        assert set(counted) == set(SHARES)
        for name, share in SHARES.items():
            assert abs(counted[name] - share * len(numbers)) <= 2


def test_only_numbers_name_a_phrasing() -> None:
    """The ids of other datasets begin alike: all of them would be one question."""
    assert question_group("41067960-46") == "41067960"
    assert [question_group(name) for name in ("task-7", "7", "2-b", "")] == ["task-7", "7", "2-b", ""]


def test_shares_are_read_exactly() -> None:
    shares = {"train": 0.7, "validation": 0.2, "test": 0.1}
    assert parse_splits("train=0.7, validation = 0.2,test=0.1") == shares
