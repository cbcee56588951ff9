"""Which texts stand in which step: a pure function of the data, the seed and the number of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producer.training.pairs import Pairs
from producer.training.recipe import Recipe

ORDER, NEGATIVES, UNLABELLED = range(3)


@dataclass(frozen=True, slots=True)
class Batch:
    """`passages` differ from each other; `answers` and `negative` are as in the loss."""

    requests: list[str]
    passages: list[str]
    answers: list[int]
    negative: NDArray[np.bool_]
    unlabelled: list[str]


class Batches:
    """`mined` [pairs, depth] holds, for each pair, places of passages that look like answers and are none."""

    def __init__(self, data: Pairs, recipe: Recipe, mined: NDArray[np.int64]) -> None:
        self._data, self._recipe, self._mined = data, recipe, mined
        # A single pair has no negatives: the last ones of an epoch join the batch before.
        self.per_epoch = max(1, round(len(data.pairs) / recipe.batch_size))
        self.count = self.per_epoch * recipe.epochs

    def at(self, step: int) -> Batch:
        """The batch of `step`, from 0 to `count` - 1."""
        epoch, part = divmod(step, self.per_epoch)
        order = self._random(ORDER, epoch).permutation(len(self._data.pairs))
        chosen = np.array_split(order, self.per_epoch)[part]
        pairs = [self._data.pairs[place] for place in chosen]
        requests = [request for request, _ in pairs]
        texts = self._data.passages
        answers = [texts[passage] for _, passage in pairs]
        passages = list(dict.fromkeys(answers + self._hard_negatives(chosen, step)))
        return Batch(
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
