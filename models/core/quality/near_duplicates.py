"""Near duplicates among 100,000s of texts: MinHash (Broder, 1997) with bands, each find checked exactly.

A text is the set of its phrases of three words. Two texts whose signatures agree in a whole band are compared
by the true share of common phrases, so nothing is found that is none; a pair right at the threshold is missed
at most once in twenty times. A text costs about 150 bytes, and 4 for each phrase.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.core.words import ngrams, words

PHRASE = 3
HASHES = 128
RECALL = 0.95
# Texts of one band that are unlike each other, and that each further text of it is compared with.
MAX_LEADERS = 32
Phrases = NDArray[np.uint32]


class NearDuplicates:
    """Texts are added one by one; `pairs` finds those that are nearly an earlier one."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rows = rows_of_band(threshold)
        self._bands = HASHES // self._rows
        draw = np.random.default_rng(0)
        self._factors = draw.integers(0, 2**64, HASHES, np.uint64) | np.uint64(1)
        self._summands = draw.integers(0, 2**64, HASHES, np.uint64)
        self._mix = draw.integers(0, 2**64, self._rows, np.uint64) | np.uint64(1)
        self._keys = array("Q")
        self._phrases = array("I")
        self._ends = array("Q", [0])
        self._places = array("Q")
        self._count = 0

    def add(self, text: str) -> None:
        """A text without words is like no other."""
        phrases = phrases_of(text)
        if len(phrases):
            self._keys.frombytes(self._bands_of(phrases).tobytes())
            self._phrases.frombytes(phrases.tobytes())
            self._ends.append(len(self._phrases))
            self._places.append(self._count)
        self._count += 1

    def pairs(self) -> dict[int, int]:
        """Place of each text that is nearly an earlier one, and the place of that; the earlier one is itself
        nearly none. Texts that are alike through a third are counted together."""
        found: dict[int, int] = {}
        for group in self._groups():
            self._compare(group, found)
        for place in sorted(found):  # the earlier one is settled first
            found[place] = found.get(found[place], found[place])
        return {self._places[place]: self._places[other] for place, other in found.items()}

    def _bands_of(self, phrases: Phrases) -> NDArray[np.uint64]:
        """[bands]: what two texts share if their least hashes are equal in the whole band."""
        # Multiply and shift modulo 2^64 (Dietzfelbinger et al., 1997); the lower bits are thrown away.
        hashes = (phrases.astype(np.uint64)[:, None] * self._factors + self._summands) >> np.uint64(32)
        least = hashes.min(axis=0)[: self._bands * self._rows].reshape(self._bands, self._rows)
        mixed: NDArray[np.uint64] = (least * self._mix).sum(axis=1, dtype=np.uint64)
        return mixed

    def _groups(self) -> Iterator[list[int]]:
        """Texts that share a band, in their order, band by band."""
        for keys in np.frombuffer(self._keys, np.uint64).reshape(-1, self._bands).T:
            order = np.argsort(keys, kind="stable")
            ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order))
            starts = np.insert(ends[:-1], 0, 0)
            several = ends - starts > 1
            for start, end in zip(starts[several], ends[several], strict=True):
                yield order[start:end].tolist()

    def _compare(self, group: list[int], found: dict[int, int]) -> None:
        leaders: list[int] = []
        for place in group:
            if place in found:
                continue
            like = next((other for other in leaders if self._share(place, other) >= self._threshold), None)
            if like is not None:
                found[place] = like
            elif len(leaders) < MAX_LEADERS:
                leaders.append(place)

    def _share(self, place: int, other: int) -> float:
        return jaccard(self._phrases_at(place), self._phrases_at(other))

    def _phrases_at(self, place: int) -> Phrases:
        start, end = self._ends[place], self._ends[place + 1]
        return np.array(self._phrases[start:end], np.uint32)


def phrases_of(text: str) -> Phrases:
    """Sorted hashes of the phrases of a text; a shorter text is one phrase."""
    said = words(text)
    phrases = ngrams(said, PHRASE) or ([said] if said else [])
    return np.unique(np.array([zlib.crc32(" ".join(phrase).encode()) for phrase in phrases], np.uint32))


def jaccard(some: Phrases, others: Phrases) -> float:
    """Common phrases by all phrases."""
    common = len(np.intersect1d(some, others, assume_unique=True))
    return common / (len(some) + len(others) - common)


def rows_of_band(threshold: float) -> int:
    """As many hashes in a band as leave a pair at the threshold a chance of RECALL to be found."""
    return max(
        (rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL),
        default=1,
    )
