"""Exemplars that are chosen by the vectors of requests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.identity import sort_key
from models.core.retrieval.best_rows import best_rows
from models.core.retrieval.solved_examples import EmbeddingIndex, pack_vector, unpack_vector


def space(points: list[list[float]], keyed: bool = False) -> EmbeddingIndex:
    """Example 10 * row for each row."""
    records = [(10 * row, pack_vector(np.array(point, dtype=np.float32))) for row, point in enumerate(points)]
    return EmbeddingIndex.of(records, {row: sort_key(f"{row}") for row, _ in records} if keyed else None)


POINTS = st.lists(
    st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3).filter(any), min_size=1, max_size=30
)


def test_a_vector_is_kept_at_unit_length_to_three_digits() -> None:
    vector = np.array([3.0, -4.0, 0.001], dtype=np.float32)
    unpacked = unpack_vector(pack_vector(vector))
    assert np.allclose(unpacked, vector / 5, atol=5e-4)
    assert not unpack_vector(pack_vector(np.zeros(3, dtype=np.float32))).any()


def test_the_very_nearest_comes_first() -> None:
    index = space([[1.0, 0.0], [1.0, 0.1], [1.0, 1.0], [0.0, 1.0]])
    query = np.array([1.0, 0.0], dtype=np.float32)
    assert index.nearest(query, {0, 10, 20, 30}, 3) == [0, 10, 20]
    assert index.nearest(query, {10, 20, 30}, 3) == [10, 20, 30]
    assert index.nearest(query, {20, 30}, 9) == [20, 30]


@given(st.lists(st.integers(-3, 3).map(float)), st.integers(0, 40))
def test_best_rows_are_those_of_a_whole_sort(scores: list[float], count: int) -> None:
    expected = np.argsort(-np.array(scores), kind="stable")[:count]
    assert best_rows(np.array(scores), count).tolist() == expected.tolist()


def test_nearest_example_is_found_behind_many_that_may_not_be_shown() -> None:
    index = space([[1.0, place / 1000] for place in range(1000)])
    query = np.array([1.0, 0.0], dtype=np.float32)
    assert index.nearest(query, {9990, 9000, 5}, 2) == [9000, 9990]


@given(POINTS, st.integers(0, 40), st.data())
def test_fewer_shots_are_the_first_of_more_and_all_are_accepted(
    points: list[list[float]], count: int, data: st.DataObject
) -> None:
    index, keyed = space(points), space(points, keyed=True)
    accepted = data.draw(st.sets(st.sampled_from(index.ids)))
    query = unpack_vector(pack_vector(np.array(points[0], dtype=np.float32)))
    for choose in (
        lambda shots: index.nearest(query, accepted, shots),
        lambda shots: index.diverse(accepted, shots, "seed"),
        lambda shots: keyed.diverse(accepted, shots, "seed"),
    ):
        everything = choose(len(points))
        assert set(everything) == accepted
        assert len(everything) == len(accepted)
        assert choose(count) == everything[:count]


@given(POINTS, st.data())
def test_sets_meet_the_examples_in_the_same_order(points: list[list[float]], data: st.DataObject) -> None:
    index = space(points)
    accepted = data.draw(st.sets(st.sampled_from(index.ids)))
    everything = index.diverse(set(index.ids), len(points), "seed")
    assert index.diverse(accepted, len(points), "seed") == [each for each in everything if each in accepted]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_diverse_set_holds_one_of_each_kind(keyed: bool) -> None:
    """Four kinds of request, of which one has nearly all: at random, a kind would be missing mostly."""
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), [94, 2, 2, 2])
    points = np.eye(4)[kinds] + generator.normal(0, 0.05, (100, 4))
    index = space(points.tolist(), keyed)
    sets = [index.diverse(set(index.ids), 4, f"{seed}") for seed in range(10)]
    assert all({kinds[example // 10] for example in chosen} == {0, 1, 2, 3} for chosen in sets)
    assert len({tuple(chosen) for chosen in sets}) > 1


def test_new_example_changes_few_diverse_sets() -> None:
    generator = np.random.default_rng(0)
    points = np.eye(4)[np.repeat(np.arange(4), 20)] + generator.normal(0, 0.1, (80, 4))
    records = [(row, pack_vector(point.astype(np.float32))) for row, point in enumerate(points)]
    keys = {row: sort_key(f"{row}") for row in range(-1, 80)}
    new = (-1, pack_vector(np.array([1, 0.1, 0, 0.1], dtype=np.float32)))
    changed = {}
    for given_keys in (keys, None):
        before, after = (EmbeddingIndex.of(each, given_keys) for each in (records, [new, *records]))
        sets = [(before.diverse(keys, 4, f"{seed}"), after.diverse(keys, 4, f"{seed}")) for seed in range(50)]
        changed[given_keys is keys] = sum(first != second for first, second in sets)
    assert changed[True] <= 20 < 40 <= changed[False]


def test_without_vectors_nothing_is_chosen() -> None:
    empty = EmbeddingIndex.of([])
    assert empty.nearest(np.ones(3, dtype=np.float32), {0}, 2) == []
    assert empty.diverse({0}, 2, "seed") == []
