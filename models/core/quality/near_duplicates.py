"""Near duplicates among 100,000s of texts: MinHash (Broder, 1997) with bands, each pair checked exactly.

A text is the set of its phrases of three words. Two texts with equal signatures in a whole band are compared
by the true share of common phrases, so there are no false finds; a pair right at the threshold is missed in
at most 5 % of cases. A text costs about 80 bytes, and 4 for each phrase if it is compared at all.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.words import ngrams, words

PHRASE = 3
HASHES = 128
RECALL = 0.95
# The largest number of different texts of one band with which each further text is compared.
MAX_LEADERS = 32
Phrases = NDArray[np.uint32]


class NearDuplicates:
    """Near duplicates of texts that are added one by one, and read once more in the end."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rows = rows_of_band(threshold)
        self._bands = HASHES // self._rows
        rng = np.random.default_rng(0)
        self._factors = rng.integers(0, 2**64, HASHES, np.uint64) | np.uint64(1)
        self._summands = rng.integers(0, 2**64, HASHES, np.uint64)
        self._mix = rng.integers(0, 2**64, self._rows, np.uint64) | np.uint64(1)
        # 32 bits of the key of each band: few of a million texts share one by chance.
        self._keys = array("I")
        # Numbers of the added texts that have words.
        self._numbers = array("I")
        self._count = 0

    def add(self, text: str) -> None:
        """Add a text. A text without words is like no other."""
        phrases = phrases_of(text)
        if len(phrases):
            self._keys.frombytes(self._bands_of(phrases).tobytes())
            self._numbers.append(self._count)
        self._count += 1

    def pairs(self, texts: Iterable[str]) -> dict[int, int]:
        """Map the number of each near duplicate, from 0, to that of the earlier text. The earlier text is no
        near duplicate itself: texts that are alike through a third belong together.

        `texts` are those that were added, in the same order. Those that share no band are not kept."""
        phrases = self._phrases_of_compared(texts)
        earlier: dict[int, int] = {}
        for group in self._groups():
            self._compare(group, earlier, phrases)
        for index in sorted(earlier):  # the earlier text is settled first
            earlier[index] = earlier.get(earlier[index], earlier[index])
        return {self._numbers[index]: self._numbers[other] for index, other in earlier.items()}

    def _phrases_of_compared(self, texts: Iterable[str]) -> dict[int, Phrases]:
        """Return the phrases of the texts that share a band with another, by their index."""
        compared = np.zeros(len(self._numbers), np.bool_)
        for group in self._groups():
            compared[group] = True
        if not compared.any():
            return {}
        index_of = {self._numbers[index]: index for index in np.flatnonzero(compared).tolist()}
        return {index_of[number]: phrases_of(text) for number, text in enumerate(texts) if number in index_of}

    def _bands_of(self, phrases: Phrases) -> NDArray[np.uint32]:
        """Return a key for each band, [bands], equal for texts with equal minimum hashes in the whole
        band."""
        # Multiply and shift modulo 2^64 (Dietzfelbinger et al., 1997); the lower bits are thrown away.
        hashes = (phrases.astype(np.uint64)[:, None] * self._factors + self._summands) >> np.uint64(32)
        minima = hashes.min(axis=0)[: self._bands * self._rows].reshape(self._bands, self._rows)
        mixed: NDArray[np.uint64] = (minima * self._mix).sum(axis=1, dtype=np.uint64)
        return (mixed >> np.uint64(32)).astype(np.uint32)

    def _groups(self) -> Iterator[list[int]]:
        """Yield groups of texts that share a band, in their order, band by band."""
        for keys in np.frombuffer(self._keys, np.uint32).reshape(-1, self._bands).T:
            yield from equal_indices(keys)

    def _compare(self, group: list[int], earlier: dict[int, int], phrases: dict[int, Phrases]) -> None:
        leaders: list[int] = []
        for index in group:
            if index in earlier:
                continue
            shares = ((other, jaccard(phrases[index], phrases[other])) for other in leaders)
            like = next((other for other, share in shares if share >= self._threshold), None)
            if like is not None:
                earlier[index] = like
            elif len(leaders) < MAX_LEADERS:
                leaders.append(index)


def equal_indices(keys: NDArray[Any]) -> Iterator[list[int]]:
    """Yield the indices of keys that are equal to others, each list in order."""
    order = np.argsort(keys, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order))
    starts = np.insert(ends[:-1], 0, 0)
    several = ends - starts > 1
    for start, end in zip(starts[several], ends[several], strict=True):
        yield order[start:end].tolist()


def phrases_of(text: str) -> Phrases:
    """Return sorted hashes of the phrases of a text; a shorter text is one phrase."""
    tokens = words(text)
    phrases = ngrams(tokens, PHRASE) or ([tokens] if tokens else [])
    return np.unique(np.array([zlib.crc32(" ".join(phrase).encode()) for phrase in phrases], np.uint32))


def jaccard(some: Phrases, others: Phrases) -> float:
    """Return common phrases / all phrases."""
    common = len(np.intersect1d(some, others, assume_unique=True))
    return common / (len(some) + len(others) - common)


def rows_of_band(threshold: float) -> int:
    """Return the largest number of hashes in a band with which a pair at the threshold is found in RECALL
    cases."""
    return max(
        (rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL),
        default=1,
    )
