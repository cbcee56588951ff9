"""A ranking learned from solved examples: boosted trees (LightGBM) on the evidence of each candidate.

An example must not vote for itself while the ranking learns from it. Leaving out its question is not enough:
new requests may ask for passages that no example names, and then the votes of others would look too good. So
each draw also hides one of the example's passages from the votes, with all examples that name it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.lexicon import Lexicon
from models.core.retrieval.ranking import FEATURES, features, gather_evidence
from models.core.retrieval.solved_examples import SolvedExamples

Floats = NDArray[np.float32]
DRAWS = 3
AT_ONCE = 64
ROUNDS = 200
PARAMETERS: dict[str, Any] = {
    "objective": "rank_xendcg", "num_leaves": 15, "min_data_in_leaf": 50, "learning_rate": 0.05,
    "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0,
    "deterministic": True, "force_row_wise": True, "seed": 1, "verbose": -1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingExamples:
    """Solved examples to learn from. `answers` are rows of the corpus, at least one for each example."""

    requests: Sequence[str]
    question_ids: Sequence[str]
    answers: Sequence[Sequence[int]]
    whole: Floats
    bare: Floats


def train_ranking(
    examples: TrainingExamples,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """Return the ranking as LightGBM writes it. `passages` are the corpus' vectors; `progress` is called with
    (examples seen, examples to see)."""
    import lightgbm

    tables, labels, sizes = [], [], []
    total = DRAWS * len(examples.requests)
    for draw in range(DRAWS):
        for start in range(0, len(examples.requests), AT_ONCE):
            for table, label in _labelled(examples, start, draw, seed, passages, lexicon, solved):
                tables.append(table)
                labels.append(label)
                sizes.append(len(label))
            progress(min(draw * len(examples.requests) + start + AT_ONCE, total), total)
    data = lightgbm.Dataset(
        np.vstack(tables), np.concatenate(labels), group=sizes, feature_name=list(FEATURES)
    )
    booster = lightgbm.train({**PARAMETERS, "num_threads": threads}, data, ROUNDS)
    return str(booster.model_to_string())


def _labelled(
    examples: TrainingExamples,
    start: int,
    draw: int,
    seed: int,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples,
) -> list[tuple[Floats, NDArray[np.int8]]]:
    part = slice(start, start + AT_ONCE)

    def admitted(index: int) -> NDArray[np.bool_]:
        row = start + index
        hidden = random.Random(f"{seed}/{draw}/{row}").choice(examples.answers[row])
        return solved.others(examples.question_ids[row]) & solved.without(hidden)

    evidence = gather_evidence(
        examples.requests[part],
        examples.whole[part],
        examples.bare[part],
        passages,
        lexicon,
        solved,
        admitted,
    )
    labelled = []
    for row, each in enumerate(evidence, start):
        candidates = each.candidates()
        label = np.isin(candidates, np.array(examples.answers[row])).astype(np.int8)
        labelled.append((features(each, candidates, lexicon), label))
    return labelled
