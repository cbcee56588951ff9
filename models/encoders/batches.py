"""Many texts, encoded in batches of similar length by several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 32


def encode_in_batches(
    texts: Sequence[str], dimension: int, threads: int, encode: Callable[[list[str]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Vectors [len(texts), dimension] in the order of `texts`, of which `encode` takes 32 at once.

    Texts are sorted by length, so that little is padded.
    """
    vectors = np.empty((len(texts), dimension), dtype=np.float32)
    longest_first = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    batches = [longest_first[start : start + BATCH_SIZE] for start in range(0, len(texts), BATCH_SIZE)]
    words = [[texts[row] for row in rows] for rows in batches]
    with ThreadPoolExecutor(threads) as pool:
        for rows, part in zip(batches, pool.map(encode, words), strict=True):
            vectors[rows] = part
    return vectors
