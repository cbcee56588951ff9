"""A ranking learned from solved examples: boosted trees (LightGBM) on the evidence of each candidate.

What an example says of itself must not count when it is learned from. Leaving out its own question is not
enough where new requests ask for passages that no example names: the votes of others would look better than
they are. So each draw also hides one of the example's own passages from the votes, with all examples that
name it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.lexicon import Lexicon
from models.core.retrieval.ranking import FEATURES, features, gather
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
class Lessons:
    """Solved examples to learn from, each with at least one passage: `answers` are rows of the corpus."""

    requests: Sequence[str]
    question_ids: Sequence[str]
    answers: Sequence[Sequence[int]]
    whole: Floats
    bare: Floats


def learn(
    lessons: Lessons,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """The ranking as LightGBM writes it. `passages` are the corpus' vectors; `progress` hears (examples seen,
    examples to see)."""
    import lightgbm

    tables, labels, sizes = [], [], []
    total = DRAWS * len(lessons.requests)
    for draw in range(DRAWS):
        for start in range(0, len(lessons.requests), AT_ONCE):
            for table, label in _seen(lessons, start, draw, seed, passages, lexicon, solved):
                tables.append(table)
                labels.append(label)
                sizes.append(len(label))
            progress(min(draw * len(lessons.requests) + start + AT_ONCE, total), total)
    data = lightgbm.Dataset(
        np.vstack(tables), np.concatenate(labels), group=sizes, feature_name=list(FEATURES)
    )
    booster = lightgbm.train({**PARAMETERS, "num_threads": threads}, data, ROUNDS)
    return str(booster.model_to_string())


def _seen(
    lessons: Lessons,
    start: int,
    draw: int,
    seed: int,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples,
) -> list[tuple[Floats, NDArray[np.int8]]]:
    part = slice(start, start + AT_ONCE)

    def admitted(place: int) -> NDArray[np.bool_]:
        row = start + place
        hidden = random.Random(f"{seed}/{draw}/{row}").choice(lessons.answers[row])
        return solved.others(lessons.question_ids[row]) & solved.without(hidden)

    evidence = gather(
        lessons.requests[part], lessons.whole[part], lessons.bare[part], passages, lexicon, solved, admitted
    )
    seen = []
    for place, found in enumerate(evidence):
        rows = found.candidates()
        label = np.isin(rows, np.array(lessons.answers[start + place])).astype(np.int8)
        seen.append((features(found, rows, lexicon), label))
    return seen
