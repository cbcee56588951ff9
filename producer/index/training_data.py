"""What there is to learn from: requests of the train split, and the passages that answer them.

Hard negatives: passages that an encoder takes for answers although nobody named them.

What decides the weights that a training ends with, besides its data and the encoder it begins with.

Which texts stand in which step: a pure function of the data, the seed and the number of the step.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.encoder import passage_text
from models.core.errors import UsageError
from models.core.types import Example, Passage


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


MINING_DEPTH = 30
REQUESTS_PER_BATCH = 64


def mine_hard_negatives(
    data: Pairs, requests: NDArray[np.float32], passages: NDArray[np.float32], depth: int = MINING_DEPTH
) -> NDArray[np.int64]:
    """[pairs, depth]: the places of the passages nearest to the request of each pair, less its answers.

    `requests` and `passages` are the vectors of the texts in `data`. Less deep where there are fewer.
    """
    most = max(map(len, data.answers.values()))
    depth = min(depth, len(data.passages) - most)
    found = np.empty((len(data.requests), depth), dtype=np.int64)
    for start in range(0, len(requests), REQUESTS_PER_BATCH):
        for row, scores in enumerate(requests[start : start + REQUESTS_PER_BATCH] @ passages.T, start):
            order = np.argsort(-scores, kind="stable")
            answers = data.answers[data.requests[row]]
            rest = (place for place in order if data.passages[place] not in answers)
            found[row] = [place for place, _ in zip(rest, range(depth), strict=False)]
    return found[[request for request, _ in data.pairs]]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """`learning_rate` is the highest: it rises over the first `warmup` (a share of all steps) and falls to 0.

    `hard_negatives` passages for each pair are drawn, anew in each epoch, from the 30 that the encoder ranks
    highest and that are no answers. `unlabelled` passages in each step are paired with themselves under
    another dropout (SimCSE, Gao et al., 2021). `symmetric` also asks each passage for its request.
    `max_tokens` cuts texts while training only.
    """

    epochs: int = 10
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 5e-5
    temperature: float = 0.05
    warmup: float = 0.1
    weight_decay: float = 0.01
    hard_negatives: int = 0
    unlabelled: int = 0
    symmetric: bool = False
    max_tokens: int = 64


ORDER, NEGATIVES, UNLABELLED = range(3)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """`passages` differ from each other; `answers` and `negative` are as in the loss."""

    requests: list[str]
    passages: list[str]
    answers: list[int]
    negative: NDArray[np.bool_]
    unlabelled: list[str]


class TrainingBatches:
    """`mined` [pairs, depth] holds, for each pair, places of passages that look like answers and are none."""

    def __init__(self, data: Pairs, recipe: TrainingOptions, mined: NDArray[np.int64]) -> None:
        self._data, self._recipe, self._mined = data, recipe, mined
        # A single pair has no negatives: the last ones of an epoch join the batch before.
        self.per_epoch = max(1, round(len(data.pairs) / recipe.batch_size))
        self.count = self.per_epoch * recipe.epochs

    def at(self, step: int) -> TrainingBatch:
        """The batch of `step`, from 0 to `count` - 1."""
        epoch, part = divmod(step, self.per_epoch)
        order = self._random(ORDER, epoch).permutation(len(self._data.pairs))
        chosen = np.array_split(order, self.per_epoch)[part]
        pairs = [self._data.pairs[place] for place in chosen]
        requests = [request for request, _ in pairs]
        texts = self._data.passages
        answers = [texts[passage] for _, passage in pairs]
        passages = list(dict.fromkeys(answers + self._hard_negatives(chosen, step)))
        return TrainingBatch(
            [self._data.requests[request] for request in requests],
            passages,
            [passages.index(answer) for answer in answers],
            self._data.negative(requests, passages),
            [texts[place] for place in self._unlabelled(step)],
        )

    def _hard_negatives(self, chosen: NDArray[np.int64], step: int) -> list[str]:
        count = min(self._recipe.hard_negatives, self._mined.shape[1])
        random = self._random(NEGATIVES, step)
        draws = [random.choice(self._mined[place], count, False) for place in chosen]
        return [self._data.passages[place] for draw in draws for place in draw]

    def _unlabelled(self, step: int) -> list[int]:
        count = min(self._recipe.unlabelled, len(self._data.passages))
        chosen = self._random(UNLABELLED, step).choice(len(self._data.passages), count, False)
        return [int(place) for place in chosen]

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.seed, *purpose])
