"""Encode many texts in batches of similar length, by several threads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.checkpoint import Checkpoint

# Attention takes memory by the square of the length, about 30 MB for a text of 256 tokens: four long texts
# make a batch. Texts are cut at 256 tokens, about a thousand characters.
MAX_TEXTS = 32
MAX_CHARACTERS = 4_000
MAX_TEXT_LENGTH = 1_000
# Each text is padded to the longest of its batch, so a batch holds texts of similar length. Four texts keep
# a processor busy.
MIN_TEXTS = 4
SIMILAR = 0.8


def encode_in_batches(
    texts: Sequence[str], dimension: int, threads: int, encode: Callable[[list[str]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return vectors [len(texts), dimension] in the order of `texts`; `encode` gets up to 32 texts at once.

    Texts are sorted by length, so that little is padded.
    """
    vectors = np.empty((len(texts), dimension), dtype=np.float32)
    batches = list(_batches(texts))
    words = [[texts[row] for row in rows] for rows in batches]
    with ThreadPoolExecutor(threads) as pool:
        for rows, part in zip(batches, pool.map(encode, words), strict=True):
            vectors[rows] = part
    return vectors


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    longest_first = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    start = 0
    while start < len(longest_first):
        longest = min(MAX_TEXT_LENGTH, max(1, len(texts[longest_first[start]])))
        rows = longest_first[start : start + min(MAX_TEXTS, MAX_CHARACTERS // longest)]
        similar = sum(len(texts[row]) >= SIMILAR * longest for row in rows)
        rows = rows[: max(MIN_TEXTS, similar)]
        yield rows
        start += len(rows)


class BatchEncoder(ABC):
    """The encoder of a checkpoint that runs `threads` batches at once; the default is one per CPU."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        self._checkpoint = checkpoint
        self._threads = threads or os.cpu_count() or 1

    @property
    def dimension(self) -> int:
        return self._checkpoint.dimension

    @property
    def template(self) -> str:
        return self._checkpoint.template

    @property
    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors [len(texts), dimension]; equal texts are encoded once."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = encode_in_batches(list(row_of), self.dimension, self._threads, self._encode_batch)
        return vectors if len(row_of) == len(texts) else vectors[[row_of[text] for text in texts]]

    @abstractmethod
    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        """Return vectors [len(texts), dimension]; several threads call this."""
