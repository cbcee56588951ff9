"""The nearest of many requests by ROUGE-L F (Lin, 2004): 2 LCS / (m + n) of two with m and n words."""

from __future__ import annotations

from collections import defaultdict
from math import ceil

from models.quality.words import Words

# Code points there are; words beyond share the last one.
MOST_WORDS = 0x10FFFF
_ROUNDING = 1e-9


class Nearest:
    """Finds what reaches `threshold`, above 0 and at most 1.

    Each word becomes one character, so that rapidfuzz compares texts: its similarity by insertions and
    deletions is ROUGE-L F. What reaches the threshold shares so many words with what is looked for that it
    has one of the rarest of these: only such requests are compared.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._names: list[str] = []
        self._texts: list[str] = []
        self._characters: dict[str, str] = {}
        self._places: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, name: str, said: Words) -> None:
        for word in set(said):
            self._places[word].append(len(self._texts))
        self._names.append(name)
        self._texts.append(self._text(said))

    def find(self, said: Words) -> tuple[str, float] | None:
        """Name and similarity of the nearest, of equals the first that was added; None below `threshold`."""
        # Workers that grow nothing do without it.
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        known = {word: self._places.get(word, []) for word in said}
        shared = ceil(len(said) * self._threshold / (2 - self._threshold) - _ROUNDING)
        rarest = sorted(said, key=lambda word: len(known[word]))[: len(said) - shared + 1]
        places = sorted({place for word in rarest for place in known[word]})
        texts = [self._texts[place] for place in places]
        best = process.extractOne(
            self._text(said), texts, scorer=Indel.normalized_similarity, score_cutoff=self._threshold
        )
        return (self._names[places[best[2]]], float(best[1])) if best else None

    def _text(self, said: Words) -> str:
        for word in said:
            if word not in self._characters:
                self._characters[word] = chr(min(len(self._characters), MOST_WORDS))
        return "".join(map(self._characters.__getitem__, said))
