"""Batches of a training: queries, answers and negatives."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from models.core.errors import UsageError
from models.core.types import Example, Passage
from producer.index.training_data import (
    Pairs,
    TrainingBatches,
    TrainingOptions,
    make_pairs,
    mine_hard_negatives,
)

TEMPLATE = "{name}: {text}"
PASSAGES = [Passage(f"lib.f{number}", f"f{number}", "", f"text {number}") for number in range(12)]
EXAMPLES = [
    Example(row, str(row), f"request {row}", "code", (f"lib.f{row % 6}", f"lib.f{6 + row % 2}"))
    for row in range(10)
]
UNMINED = np.empty((20, 0), dtype=np.int64)


@pytest.fixture
def data() -> Pairs:
    return make_pairs(EXAMPLES, PASSAGES, TEMPLATE)


def test_every_oracle_passage_makes_a_pair() -> None:
    examples = [
        Example(0, "a", "one", "code", ("lib.f1", "lib.f1", "gone")),
        Example(1, "b", "two", "code", ("gone",)),
        Example(2, "c", "three", "code"),
        Example(3, "d", "four", "code", ("lib.f2",)),
    ]
    pairs = make_pairs(examples, PASSAGES, TEMPLATE)
    assert pairs.requests == ("one", "four")
    assert [(pairs.requests[a], pairs.passages[b]) for a, b in pairs.pairs] == [
        ("one", "f1: text 1"),
        ("four", "f2: text 2"),
    ]
    assert pairs.left_out == 2


def test_data_without_pairs_is_refused() -> None:
    with pytest.raises(UsageError, match=r"dataset\.train: fewer than two pairs"):
        make_pairs(EXAMPLES[:1], PASSAGES[:1], TEMPLATE)


def test_an_epoch_sees_each_pair_once(data: Pairs) -> None:
    batches = TrainingBatches(data, TrainingOptions(epochs=2, batch_size=6), UNMINED)
    assert (batches.per_epoch, batches.count) == (3, 6)
    for epoch in (0, 3):
        seen = Counter(
            (request, batch.passages[answer])
            for batch in map(batches.at, range(epoch, epoch + 3))
            for request, answer in zip(batch.requests, batch.answers, strict=True)
        )
        assert seen == Counter((data.requests[a], data.passages[b]) for a, b in data.pairs)


def test_no_answer_of_a_request_is_its_negative(data: Pairs) -> None:
    batch = TrainingBatches(data, TrainingOptions(batch_size=20), UNMINED).at(0)
    assert len(set(batch.passages)) == len(batch.passages)
    for request, row in zip(batch.requests, batch.negative, strict=True):
        for passage, is_negative in zip(batch.passages, row, strict=True):
            assert is_negative == (passage not in data.answers[request])


def test_equal_requests_and_equal_texts_share_their_answers() -> None:
    twins = [*PASSAGES, Passage("other.f1", "f1", "", "text 1")]
    examples = [Example(0, "a", "same", "code", ("lib.f1",)), Example(1, "b", "same", "code", ("lib.f2",))]
    data = make_pairs(examples, twins, TEMPLATE)
    assert not data.negative([0, 1], ["f1: text 1", "f2: text 2"]).any()


def test_batches_follow_the_seed_and_nothing_else(data: Pairs) -> None:
    recipe = TrainingOptions(batch_size=6, unlabelled=3)
    same = [TrainingBatches(data, recipe, UNMINED).at(4) for _ in range(2)]
    assert same[0].requests == same[1].requests
    assert same[0].unlabelled == same[1].unlabelled
    other = TrainingBatches(data, replace(recipe, seed=1), UNMINED).at(4)
    assert (other.requests, other.unlabelled) != (same[0].requests, same[0].unlabelled)


def test_mined_negatives_are_near_and_no_answers(data: Pairs) -> None:
    passages = np.eye(12, dtype=np.float32)
    # Request r is nearest to passage r, then to r + 1.
    requests = np.array([2 * passages[row] + passages[row + 1] for row in range(10)])
    mined = mine_hard_negatives(data, requests, passages, depth=2)
    assert mined.shape == (20, 2)
    for (request, _), row in zip(data.pairs, mined, strict=True):
        answers = data.answers[data.requests[request]]
        near = [index for index in (request, request + 1) if data.passages[index] not in answers]
        assert set(near) <= set(row.tolist())
        assert not answers.intersection(data.passages[index] for index in row)
    batch = TrainingBatches(data, TrainingOptions(batch_size=20, hard_negatives=1), mined).at(0)
    assert set(batch.passages) > {data.passages[passage] for _, passage in data.pairs}
