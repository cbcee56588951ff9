"""Texts are encoded with others of about their length, and come back in their order."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.encode_batches import MAX_CHARACTERS, MAX_TEXTS, encode_in_batches


def encoded(lengths: list[int]) -> list[list[int]]:
    """The lengths of each batch; an encoder that tells the length of a text shows where its vector went."""
    batches = []

    def encode(texts: list[str]) -> NDArray[np.float32]:
        batches.append([len(text) for text in texts])
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    vectors = encode_in_batches(["x" * length for length in lengths], 1, 1, encode)
    assert vectors[:, 0].tolist() == lengths
    return batches


def test_requests_of_all_lengths_are_hardly_padded() -> None:
    lengths = random.Random(0).sample(range(20, 200), 32)
    batches = encoded(lengths)
    assert sum(max(batch) * len(batch) for batch in batches) < 1.2 * sum(lengths)
    assert len(batches) <= 8


def test_texts_of_one_length_fill_their_batches() -> None:
    assert [len(batch) for batch in encoded([60] * 70)] == [MAX_TEXTS, MAX_TEXTS, 6]


def test_long_texts_go_few_at_a_time() -> None:
    assert max(map(sum, encoded([900] * 10))) <= MAX_CHARACTERS


def test_no_texts_make_no_batch() -> None:
    assert encoded([]) == []
    assert encoded([0, 0]) == [[0, 0]]
