"""What there is to learn from: requests of the train split, and the passages that answer them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.encoders import passage_text
from models.errors import UsageError
from models.types import Example, Passage


@dataclass(frozen=True)
class Pairs:
    """`pairs` holds (place in `requests`, place in `passages`); `requests` and `passages` are texts.

    `left_out` examples name no passage, or none that there is.
    """

    requests: tuple[str, ...]
    passages: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    left_out: int

    @cached_property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the pairs and the texts."""
        parts = [self.requests, self.passages, self.pairs]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def answers(self) -> dict[str, set[str]]:
        """The texts of the passages that answer each text of a request."""
        found = defaultdict(set)
        for request, passage in self.pairs:
            found[self.requests[request]].add(self.passages[passage])
        return dict(found)

    def negative(self, requests: Sequence[int], passages: Sequence[str]) -> NDArray[np.bool_]:
        """[requests, passages]: whether a text of a passage is no answer to a request, as far as is known.

        Requests with equal texts share their answers.
        """
        known = [self.answers[self.requests[request]] for request in requests]
        return np.array([[text not in answers for text in passages] for answers in known], dtype=bool)


def make_pairs(examples: Iterable[Example], passages: Iterable[Passage], template: str) -> Pairs:
    """A pair for each example and passage that it names as its oracle. Raises UsageError below two pairs."""
    requests: list[str] = []
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    left_out = 0
    places: dict[str, list[int]] = defaultdict(list)
    for place, passage in enumerate(passages):
        texts.append(passage_text(passage, template))
        places[passage.id].append(place)
    for example in examples:
        named = dict.fromkeys(place for name in example.oracle for place in places.get(name, ()))
        if not named:
            left_out += 1
            continue
        pairs += [(len(requests), place) for place in named]
        requests.append(example.request)
    if len(pairs) < 2:
        raise UsageError(
            "dataset.train: fewer than two pairs of a request and a passage; give examples ids of passages "
            "as their oracle (dataset.fields.oracle)"
        )
    return Pairs(tuple(requests), tuple(texts), tuple(pairs), left_out)
