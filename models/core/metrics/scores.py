"""All scores of a set of answers, from what is counted in each row.

A row's stats are 45 whole numbers, and the scores of any set of rows are functions of their sum: a million
rows need no texts in memory, and a bootstrap draws rows without looking at them again.

pass@k: how often at least one of k samples meets the tests (Chen et al. 2021, formula 1).

What a ranking of passages is worth to a request whose right passages are known.

The scores that a report may show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.answers.extraction import answer_code, strip_marks
from models.core.metrics.significance import Floats, Interval, bootstrap
from models.core.metrics.text_metrics import (
    bleu_stats,
    char_bleu,
    char_bleu_stats,
    chrf_stats,
    corpus_bleu,
    corpus_chrf,
    token_f1,
)
from models.core.programs import normal_form, parse_python

_BLEU, _CHAR, _CHRF = slice(0, 10), slice(10, 20), slice(20, 38)
_EXACT, _NORMALISED, _TREE, _PARSES, _RIGHT, _F1, _COUNT = range(38, 45)
WIDTH = 45
# Token F1 is a fraction, and stats are whole numbers.
MILLION = 1_000_000


def row_stats(prediction: str, reference: str, right: bool | None = None) -> NDArray[np.int64]:
    """What all scores need to know of one row, shape [WIDTH]. `right` is what the run's own rule says of it;
    without one, equality as it stands.

    Equal as it stands, but for white space, and as a syntax tree (or but for white space, where Python
    cannot parse it) are three flags; that the prediction parses is a fourth.
    """
    normalised = prediction.split() == reference.split()
    tree = normalised or normal_form(prediction) == normal_form(reference)
    equal = prediction == reference
    f1 = round(MILLION * token_f1(prediction, reference))
    right = equal if right is None else right
    flags = (equal, normalised, tree, parse_python(prediction) is not None, right, f1, True)
    return np.concatenate(
        [
            bleu_stats(prediction, reference),
            char_bleu_stats(prediction, reference),
            chrf_stats(prediction, reference),
            np.array(flags, dtype=np.int64),
        ]
    )


def as_judged(rule: str, prediction: str, reference: str) -> tuple[str, str]:
    """Both texts as a set of rules compares them.

    `paper` takes them as they stand. `strict` takes what follows the last "the answer is", where that is
    said, and less blanks, colons, backquotes and closing full stops around either.
    """
    if rule == "paper":
        return prediction, reference
    code = answer_code(prediction)
    return strip_marks(prediction) if code is None else code, strip_marks(reference)


def _share(column: int, whole: int = 1) -> Callable[[Floats], Floats]:
    def share(sums: Floats) -> Floats:
        count = whole * sums[..., _COUNT]
        return 100.0 * np.divide(sums[..., column], count, out=np.zeros_like(count), where=count > 0)

    return share


# In percent. Each maps sums of stats, shape [..., WIDTH], to scores, shape [...].
SCORES: Mapping[str, Callable[[Floats], Floats]] = {
    "bleu4": lambda sums: corpus_bleu(sums[..., _BLEU]),
    "char_bleu": lambda sums: corpus_bleu(sums[..., _CHAR], smooth=True),
    "exact_match": _share(_EXACT),
    "chrf": lambda sums: corpus_chrf(sums[..., _CHRF]),
    "normalised_match": _share(_NORMALISED),
    "tree_match": _share(_TREE),
    "parse_rate": _share(_PARSES),
    "accuracy": _share(_RIGHT),
    "token_f1": _share(_F1, MILLION),
}


def scores(stats: ArrayLike) -> dict[str, float]:
    """Every score of rows with these stats, shape [rows, WIDTH]; all 0 where there are no rows."""
    sums = np.asarray(stats, dtype=np.int64).reshape(-1, WIDTH).sum(axis=0)
    found = {name: float(of(sums.astype(np.float64))) for name, of in SCORES.items()}
    return {**found, "char_bleu": char_bleu(sums[_CHAR])}


def intervals(stats: ArrayLike, seed: int = 0) -> dict[str, Interval]:
    """The 95 % bootstrap interval of every score of these rows, at least one."""
    return {name: bootstrap(stats, of, seed) for name, of in SCORES.items()}


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Every score of predictions against their references. ValueError where their numbers differ."""
    return scores([row_stats(*pair) for pair in zip(predictions, references, strict=True)])


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased estimate in percent for one row: 100 (1 - C(n - c, k) / C(n, k)), where `correct` (c) of
    `samples` (n) are right.

    ValueError where fewer than k samples were drawn, or more are right than were drawn.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples and k above 0, found {samples}")
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} of {samples} samples cannot be right")
    return 100.0 * (1.0 - comb(samples - correct, k) / comb(samples, k))


def mean_pass_at_k(rows: Sequence[tuple[int, int]], k: int) -> float:
    """The mean over rows of (samples, correct); 0 where there are no rows."""
    return sum(pass_at_k(samples, correct, k) for samples, correct in rows) / len(rows) if rows else 0.0


def recall(found: Sequence[str], right: Sequence[str], k: int) -> float:
    """The share of the `right` ids, at least one, among the first `k` found, each id counted once."""
    wanted = set(right)
    return len(wanted.intersection(list(dict.fromkeys(found))[:k])) / len(wanted)


def reciprocal_rank(found: Sequence[str], right: Sequence[str]) -> float:
    """1 / the place of the first right id, from 1; 0 where none is found."""
    wanted = set(right)
    places = (place for place, name in enumerate(dict.fromkeys(found), 1) if name in wanted)
    return 1 / next(places, float("inf"))


def mean_percent(values: Sequence[float]) -> float:
    """0 where there are no values."""
    return 100 * sum(values) / len(values) if values else 0.0


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The 95 % bootstrap interval of the mean of at least one value, in percent."""

    def mean(sums: Floats) -> Floats:
        return 100 * sums[:, 0] / len(values)

    return bootstrap([[value] for value in values], mean, seed)
