"""All scores of a set of answers, from what is counted in each row.

A row's stats are 45 whole numbers, and the scores of any set of rows are functions of their sum: a million
rows need no texts in memory, and a bootstrap draws rows without looking at them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.extraction import answer_code, bare
from models.metrics.bleu import bleu_stats, corpus_bleu
from models.metrics.char_bleu import char_bleu, char_bleu_stats
from models.metrics.chrf import chrf_stats, corpus_chrf
from models.metrics.intervals import Floats, Interval, bootstrap
from models.metrics.token_f1 import token_f1
from models.syntax import normal_form, parse

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
    flags = (equal, normalised, tree, parse(prediction) is not None, right, f1, True)
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
    return bare(prediction) if code is None else code, bare(reference)


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
