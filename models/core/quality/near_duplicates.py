"""Near duplicates among millions of texts: MinHash (Broder, 1997) with bands, each pair checked exactly.

A text is the set of its phrases of three words. Two texts with equal signatures in a whole band are compared
by the true share of common phrases, so there are no false finds; a pair right at the threshold is missed in
at most 5 % of cases. A text costs about 40 bytes of memory. Its signature, and its phrases if it is compared
at all, lie in files.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.core.words import ngrams, words

PHRASE = 3
HASHES = 128
RECALL = 0.95
# The largest number of different texts of one band with which each further text is compared.
MAX_LEADERS = 32
# Bytes of keys that are read at once.
BLOCK = 2**16
HASH_BYTES = 4
Phrases = NDArray[np.uint32]
OpenFile = Callable[[], IO[bytes]]


class NearDuplicates:
    """Near duplicates of texts that are added one by one, and read once more in the end."""

    def __init__(self, threshold: float, open_file: OpenFile) -> None:
        """Set up the bands for texts that are alike from `threshold` on. `open_file` gives temporary files,
        which `pairs` closes."""
        self._threshold = threshold
        self._rows = rows_of_band(threshold)
        self._bands = HASHES // self._rows
        rng = np.random.default_rng(0)
        self._factors = rng.integers(0, 2**64, HASHES, np.uint64) | np.uint64(1)
        self._summands = rng.integers(0, 2**64, HASHES, np.uint64)
        self._mix = rng.integers(0, 2**64, self._rows, np.uint64) | np.uint64(1)
        self._open_file = open_file
        # For each text 32 bits of the key of each band: few of a million texts share one by chance.
        self._keys = open_file()
        # Numbers of the added texts that have words.
        self._numbers = array("I")
        self._count = 0

    def add(self, text: str) -> None:
        """Add a text. A text without words is like no other."""
        phrases = phrases_of(text)
        if len(phrases):
            self._keys.write(self._bands_of(phrases).tobytes())
            self._numbers.append(self._count)
        self._count += 1

    def pairs(self, texts: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Yield the number of each near duplicate, from 0 and in order, with that of the earlier text. The
        earlier text is no near duplicate itself: texts that are alike through a third belong together.

        `texts` are those that were added, in the same order. Nothing can be added afterwards."""
        earlier = np.full(len(self._numbers), -1, np.int32)
        with self._keys, self._open_file() as file:
            phrases = _PhraseFile(file, len(self._numbers))
            self._write_compared(texts, phrases)
            for group in self._groups():
                self._compare(group, earlier, phrases)
        for index in np.flatnonzero(earlier >= 0).tolist():  # the earlier text is settled first
            other = int(earlier[index])
            if earlier[other] >= 0:
                earlier[index] = other = int(earlier[other])
            yield self._numbers[index], self._numbers[other]

    def _write_compared(self, texts: Iterable[str], phrases: _PhraseFile) -> None:
        """Write the phrases of the texts that share a band with another."""
        compared = np.zeros(len(self._numbers), np.bool_)
        for group in self._groups():
            compared[group] = True
        if not compared.any():
            return
        index = 0
        for number, text in enumerate(texts):
            if index < len(compared) and self._numbers[index] == number:
                if compared[index]:
                    phrases.write(index, phrases_of(text))
                index += 1

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
        for band in range(self._bands):
            yield from equal_indices(self._keys_of(band))

    def _keys_of(self, band: int) -> NDArray[np.uint32]:
        keys = np.empty(len(self._numbers), np.uint32)
        size = HASH_BYTES * self._bands
        self._keys.seek(0)
        start = 0
        while block := self._keys.read(BLOCK // size * size):
            part = np.frombuffer(block, np.uint32).reshape(-1, self._bands)[:, band]
            keys[start : start + len(part)] = part
            start += len(part)
        return keys

    def _compare(self, group: list[int], earlier: NDArray[np.int32], phrases: _PhraseFile) -> None:
        leaders = _Leaders()
        for index in group:
            if earlier[index] >= 0:
                continue
            own = phrases.read(index)
            like = leaders.first_like(own, self._threshold)
            if like is not None:
                earlier[index] = like
            elif len(leaders) < MAX_LEADERS:
                leaders.add(index, own)


class _Leaders:
    """Different texts of one band, with which others are compared at once."""

    def __init__(self) -> None:
        self._indices: list[int] = []
        self._lengths = np.empty(0, np.intp)
        self._phrases = np.empty(0, np.uint32)

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, index: int, phrases: Phrases) -> None:
        self._indices.append(index)
        self._lengths = np.append(self._lengths, len(phrases))
        self._phrases = np.concatenate((self._phrases, phrases))

    def first_like(self, own: Phrases, threshold: float) -> int | None:
        """Return the first text whose share of common phrases (Jaccard) is at least `threshold`."""
        if not self._indices:
            return None
        shared = own.take(np.searchsorted(own, self._phrases), mode="clip") == self._phrases
        starts = np.cumsum(self._lengths) - self._lengths
        common = np.add.reduceat(shared, starts, dtype=np.intp)
        alike = common / (len(own) + self._lengths - common) >= threshold
        return self._indices[int(alike.argmax())] if alike.any() else None


class _PhraseFile:
    """Phrases of texts by their index."""

    def __init__(self, file: IO[bytes], texts: int) -> None:
        self._starts, self._lengths = np.zeros(texts, np.int64), np.zeros(texts, np.int32)
        self._file = file
        self._end = 0

    def write(self, index: int, phrases: Phrases) -> None:
        """Append the phrases of a text; all are written before one is read."""
        self._starts[index], self._lengths[index] = self._end, len(phrases)
        self._end += self._file.write(phrases.tobytes())

    def read(self, index: int) -> Phrases:
        self._file.seek(int(self._starts[index]))
        return np.frombuffer(self._file.read(HASH_BYTES * int(self._lengths[index])), np.uint32)


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


def rows_of_band(threshold: float) -> int:
    """Return the largest number of hashes in a band with which a pair at the threshold is found in RECALL
    cases."""
    return max(
        (rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL),
        default=1,
    )
