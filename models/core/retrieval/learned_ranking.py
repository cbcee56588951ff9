"""A ranking learned from solved examples: boosted trees (LightGBM) on the evidence of each candidate.

An example must not vote for itself while the ranking learns from it. Leaving out its question is not enough:
new requests may ask for passages that no example names, and then the votes of others would look too good. So
each draw also hides one of the example's passages from the votes, with all examples that name it.

Each draw trains a model of its own, and their scores are averaged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.evidence import gather_evidence
from models.core.retrieval.features import FEATURES, features
from models.core.retrieval.lexicon import Lexicon
from models.core.retrieval.solved_examples import SolvedExamples

Floats = NDArray[np.float32]
AT_ONCE = 64
ROUNDS = 200
# Threads that wait for each other cost more than they save on tables with fewer rows.
SMALL = 100_000
# One for each draw: XE-NDCG (Bruch, 2021), and the logistic loss of single candidates.
# LambdaRank (Burges, 2010) was worse on dev.
OBJECTIVES = ("rank_xendcg", "rank_xendcg", "binary")
PARAMETERS: dict[str, Any] = {
    "num_leaves": 15, "min_data_in_leaf": 50, "learning_rate": 0.05,
    "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingExamples:
    """Solved examples to learn from. `answers` are rows of the corpus, at least one for each example."""

    requests: Sequence[str]
    question_ids: Sequence[str]
    answers: Sequence[Sequence[int]]
    whole: Floats
    bare: Floats


@dataclass(frozen=True, slots=True)
class TrainedCorpus:
    """A corpus as a ranking sees it: `vectors` [passages, d], words, solved examples, and the `usage` of
    names in source code, [passages, kinds]."""

    vectors: Floats
    lexicon: Lexicon
    solved: SolvedExamples
    usage: Floats


def train_rankings(
    examples: TrainingExamples,
    corpus: TrainedCorpus,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[str]:
    """Return models as LightGBM writes them; `progress` is called with (examples seen, examples to see)."""
    import lightgbm

    models = []
    total = len(OBJECTIVES) * len(examples.requests)
    for draw, objective in enumerate(OBJECTIVES):
        tables, labels = [], []
        for start in range(0, len(examples.requests), AT_ONCE):
            for table, label in _labelled(examples, start, draw, seed, corpus):
                tables.append(table)
                labels.append(label)
            progress(min(draw * len(examples.requests) + start + AT_ONCE, total), total)
        sizes = [len(label) for label in labels]
        data = lightgbm.Dataset(
            np.vstack(tables), np.concatenate(labels), group=sizes, feature_name=list(FEATURES)
        )
        own: dict[str, Any] = {"objective": objective, "seed": seed * len(OBJECTIVES) + draw + 1}
        own["num_threads"] = threads if sum(sizes) > SMALL else 1
        models.append(str(lightgbm.train({**PARAMETERS, **own}, data, ROUNDS).model_to_string()))
    return models


def _labelled(
    examples: TrainingExamples, start: int, draw: int, seed: int, corpus: TrainedCorpus
) -> Iterator[tuple[Floats, NDArray[np.int8]]]:
    part = slice(start, start + AT_ONCE)

    def admitted(index: int) -> NDArray[np.bool_]:
        row = start + index
        hidden = random.Random(f"{seed}/{draw}/{row}").choice(examples.answers[row])
        return corpus.solved.others(examples.question_ids[row]) & corpus.solved.without(hidden)

    evidence = gather_evidence(
        examples.requests[part],
        examples.whole[part],
        examples.bare[part],
        corpus.vectors,
        corpus.lexicon,
        corpus.solved,
        corpus.usage,
        admitted,
    )
    for row, each in enumerate(evidence, start):
        candidates = each.candidates()
        label = np.isin(candidates, np.array(examples.answers[row])).astype(np.int8)
        yield features(each, candidates, corpus.lexicon), label


def average_scores(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean of several models' scores of a request's candidates, standardised model by model."""
    standardised = [(each - each.mean()) / max(float(each.std()), 1e-9) for each in scores]
    return np.asarray(np.mean(standardised, axis=0), dtype=np.float64)
