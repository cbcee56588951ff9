"""The data of an encoder's training: pairs of requests and passages, hard negatives, options, and batches.

A batch is a pure function of the data, the options and the number of the step.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders.encoder import passage_text
from models.core.errors import UsageError
from models.core.types import Example, Passage


@dataclass(frozen=True)
class Pairs:
    """Texts of requests and passages; `pairs` holds (index of a request, index of a passage that answers it).

    `left_out` counts the examples without an existing passage.
    """

    requests: tuple[str, ...]
    passages: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    left_out: int

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the pairs and the texts, hexadecimal."""
        parts = [self.requests, self.passages, self.pairs]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def answers(self) -> dict[str, set[str]]:
        """Text of a request -> texts of the passages that answer it."""
        answers = defaultdict(set)
        for request, passage in self.pairs:
            answers[self.requests[request]].add(self.passages[passage])
        return dict(answers)

    def negative(self, requests: Sequence[int], passages: Sequence[str]) -> NDArray[np.bool_]:
        """Return a mask [requests, passages], true if the passage is no known answer to the request.

        Requests with equal texts share their answers.
        """
        known = [self.answers[self.requests[request]] for request in requests]
        return np.array([[text not in answers for text in passages] for answers in known], dtype=bool)


def make_pairs(examples: Iterable[Example], passages: Iterable[Passage], template: str) -> Pairs:
    """Pair each example with the passages of its oracle. Raises UsageError for fewer than two pairs."""
    requests: list[str] = []
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    left_out = 0
    rows: dict[str, list[int]] = defaultdict(list)
    for row, passage in enumerate(passages):
        texts.append(passage_text(passage, template))
        rows[passage.id].append(row)
    for example in examples:
        named = dict.fromkeys(row for name in example.oracle for row in rows.get(name, ()))
        if not named:
            left_out += 1
            continue
        pairs += [(len(requests), row) for row in named]
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
    """Return, for each pair, the indices of the passages nearest to its request that are no answers to it.

    The result is [pairs, depth], and smaller if there are fewer passages. `requests` and `passages` are the
    vectors of the texts in `data`.
    """
    depth = min(depth, len(data.passages) - max(map(len, data.answers.values())))
    nearest = np.empty((len(data.requests), depth), dtype=np.int64)
    for start in range(0, len(requests), REQUESTS_PER_BATCH):
        for row, scores in enumerate(requests[start : start + REQUESTS_PER_BATCH] @ passages.T, start):
            order = np.argsort(-scores, kind="stable")
            answers = data.answers[data.requests[row]]
            wrong = (index for index in order if data.passages[index] not in answers)
            nearest[row] = list(islice(wrong, depth))
    return nearest[[request for request, _ in data.pairs]]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options that decide the trained weights, besides the data and the encoder at the start.

    `learning_rate` is the highest: it rises over the first `warmup` (a share of all steps) and falls to 0.
    `hard_negatives` passages for each pair are drawn in each epoch from the 30 that the encoder ranks highest
    and that are no answers. `unlabelled` passages in each step are paired with themselves under another
    dropout (SimCSE, Gao et al., 2021). `symmetric` also asks each passage for its request. `max_tokens` cuts
    texts during the training only.
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
    """The texts of a step. All `passages` differ; for the rest see `contrastive_loss`."""

    requests: list[str]
    passages: list[str]
    answers: list[int]
    negative: NDArray[np.bool_]
    unlabelled: list[str]


class TrainingBatches:
    """The batches of all epochs. `mined` [pairs, depth] is the result of `mine_hard_negatives`."""

    def __init__(self, data: Pairs, options: TrainingOptions, mined: NDArray[np.int64]) -> None:
        self._data, self._options, self._mined = data, options, mined
        # A batch of one pair would have no negatives, so batches are of equal size.
        self.per_epoch = max(1, round(len(data.pairs) / options.batch_size))
        self.count = self.per_epoch * options.epochs

    def at(self, step: int) -> TrainingBatch:
        """Return the batch of `step`, from 0 to `count` - 1."""
        epoch, part = divmod(step, self.per_epoch)
        order = self._rng(ORDER, epoch).permutation(len(self._data.pairs))
        chosen = np.array_split(order, self.per_epoch)[part]
        pairs = [self._data.pairs[index] for index in chosen]
        requests = [request for request, _ in pairs]
        texts = self._data.passages
        answers = [texts[passage] for _, passage in pairs]
        unlabelled = min(self._options.unlabelled, len(texts))
        passages = list(dict.fromkeys(answers + self._hard_negatives(chosen, step)))
        return TrainingBatch(
            [self._data.requests[request] for request in requests],
            passages,
            [passages.index(answer) for answer in answers],
            self._data.negative(requests, passages),
            [texts[index] for index in self._rng(UNLABELLED, step).choice(len(texts), unlabelled, False)],
        )

    def _hard_negatives(self, chosen: NDArray[np.int64], step: int) -> list[str]:
        count = min(self._options.hard_negatives, self._mined.shape[1])
        rng = self._rng(NEGATIVES, step)
        draws = [rng.choice(self._mined[pair], count, False) for pair in chosen]
        return [self._data.passages[index] for draw in draws for index in draw]

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._options.seed, *purpose])
