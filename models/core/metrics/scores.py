"""Scores of answers from counts of each row, pass@k, and scores of a ranking of passages.

A row's stats are 46 whole numbers, and all scores of a set of rows are functions of their sum. So a million
rows need no texts in memory, and a bootstrap draws rows without reading them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.answers.extraction import answer_code, strip_marks
from models.core.metrics import text_metrics
from models.core.metrics.proportions import share_interval
from models.core.metrics.significance import Floats, Interval, Score, bootstrap, cluster_sums
from models.core.programs import normal_form, parse_python
from models.core.shell import command_name

_BLEU, _CHAR, _CHRF = slice(0, 10), slice(10, 20), slice(20, 38)
_EXACT, _NORMALISED, _TREE, _PARSES, _RIGHT, _F1, _COMMAND, COUNT = range(38, 46)
WIDTH = 46
# Token F1 is a fraction, and stats are whole numbers.
MILLION = 1_000_000


def row_stats(prediction: str, reference: str, right: bool | None = None) -> NDArray[np.int64]:
    """Return the counts of one row for all scores, shape [WIDTH].

    `right` is the verdict of the run's rule, by default equality. Flags mark that the row is equal, equal but
    for white space, equal as a syntax tree (or but for white space if Python cannot parse it), that the
    prediction parses, which an empty one does not, and that it runs the same command.
    """
    normalised = prediction.split() == reference.split()
    tree = normalised or normal_form(prediction) == normal_form(reference)
    equal = prediction == reference
    f1 = round(MILLION * text_metrics.token_f1(prediction, reference))
    right = equal if right is None else right
    command = command_name(prediction) == command_name(reference) != ""
    parsed = parse_python(prediction)
    parses = parsed is not None and bool(parsed.body)
    flags = (equal, normalised, tree, parses, right, f1, command, True)
    return np.concatenate(
        [
            text_metrics.bleu_stats(prediction, reference),
            text_metrics.char_bleu_stats(prediction, reference),
            text_metrics.chrf_stats(prediction, reference),
            np.array(flags, dtype=np.int64),
        ]
    )


def wrong_stats(reference: str) -> NDArray[np.int64]:
    """Return the counts of a row without an answer: those of an empty text, wrong in every respect."""
    stats = row_stats("", reference)
    stats[_EXACT:COUNT] = 0
    return stats


def comparable_texts(rule: str, prediction: str, reference: str) -> tuple[str, str]:
    """Return both texts in the form that a set of rules compares.

    `paper` compares raw texts. `strict` takes the text after the last "the answer is", if there is one, and
    strips blanks, colons, backquotes and closing full stops from both.
    """
    if rule == "paper":
        return prediction, reference
    code = answer_code(prediction)
    return strip_marks(prediction) if code is None else code, strip_marks(reference)


def _share(column: int, whole: int = 1) -> Score:
    def share(sums: Floats) -> Floats:
        count = whole * sums[..., COUNT]
        return 100.0 * np.divide(sums[..., column], count, out=np.zeros_like(count), where=count > 0)

    return share


# In percent. Each maps sums of stats, shape [..., WIDTH], to scores, shape [...].
SCORES: Mapping[str, Score] = {
    "bleu4": lambda sums: text_metrics.corpus_bleu(sums[..., _BLEU]),
    "char_bleu": lambda sums: text_metrics.corpus_bleu(sums[..., _CHAR], smooth=True),
    "exact_match": _share(_EXACT),
    "chrf": lambda sums: text_metrics.corpus_chrf(sums[..., _CHRF]),
    "normalised_match": _share(_NORMALISED),
    "tree_match": _share(_TREE),
    "parse_rate": _share(_PARSES),
    "accuracy": _share(_RIGHT),
    "token_f1": _share(_F1, MILLION),
    "command_accuracy": _share(_COMMAND),
}


# Scores of one answer that are all or nothing, so that the score of many is a share, by their column.
SHARES: Mapping[str, int] = {
    "exact_match": _EXACT,
    "normalised_match": _NORMALISED,
    "tree_match": _TREE,
    "parse_rate": _PARSES,
    "accuracy": _RIGHT,
    "command_accuracy": _COMMAND,
}


def scores(stats: ArrayLike) -> dict[str, float]:
    """Return every score of rows with these stats, shape [rows, WIDTH]; all 0 without rows."""
    sums = np.asarray(stats, dtype=np.int64).reshape(-1, WIDTH).sum(axis=0)
    values = {name: float(score_of(sums.astype(np.float64))) for name, score_of in SCORES.items()}
    return values | {"char_bleu": text_metrics.char_bleu(sums[_CHAR])}


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return every score of predictions against their references. Raise ValueError if their numbers
    differ."""
    return scores([row_stats(*pair) for pair in zip(predictions, references, strict=True)])


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Estimate how often at least one of k samples meets the tests (Chen et al. 2021, formula 1), in percent.

    Unbiased for one row of which `correct` (c) of `samples` (n) are right: 100 (1 - C(n - c, k) / C(n, k)).
    Raise ValueError if n < k or c > n.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples and k above 0, found {samples}")
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} of {samples} samples cannot be right")
    return 100.0 * (1.0 - comb(samples - correct, k) / comb(samples, k))


def mean_pass_at_k(rows: Sequence[tuple[int, int]], k: int) -> float:
    """Return the mean over rows of (samples, correct); 0 without rows."""
    return sum(pass_at_k(samples, correct, k) for samples, correct in rows) / len(rows) if rows else 0.0


def pass_interval(rows: Sequence[tuple[int, int]], k: int, clusters: ArrayLike | None = None) -> Interval:
    """Return the 95 % interval of `mean_pass_at_k` of at least one row, with clusters of rows. pass@1 is a
    share of samples, another k a share of rows."""
    if k == 1:
        counts: list[list[float]] = [[correct, samples] for samples, correct in rows]
    else:
        counts = [[pass_at_k(samples, correct, k) / 100, 1] for samples, correct in rows]
    return share_interval(*cluster_sums(counts, clusters).T)


def recall(ranking: Sequence[str], right: Sequence[str], k: int) -> float:
    """Return the share of the `right` ids, at least one, among the first `k` distinct ids of the ranking."""
    wanted = set(right)
    return len(wanted.intersection(list(dict.fromkeys(ranking))[:k])) / len(wanted)


def reciprocal_rank(ranking: Sequence[str], right: Sequence[str]) -> float:
    """Return 1 / the rank of the first right id, from 1; 0 if none is in the ranking."""
    ranks = (rank for rank, name in enumerate(dict.fromkeys(ranking), 1) if name in right)
    return 1 / next(ranks, float("inf"))


def mean_percent(values: Sequence[float]) -> float:
    """Return the mean in percent; 0 without values."""
    return 100 * sum(values) / len(values) if values else 0.0


def mean_interval(values: Sequence[float], seed: int = 0, clusters: ArrayLike | None = None) -> Interval:
    """Return the 95 % interval in percent of the mean of at least one value from 0 to 1: of a share where all
    are 0 or 1, else by the bootstrap over clusters."""
    if set(values) <= {0, 1}:
        return share_interval(*cluster_sums([[value, 1] for value in values], clusters).T)
    counts = [[value, 1] for value in values]
    low, high = bootstrap(counts, lambda sums: 100 * sums[:, 0] / sums[:, 1], seed, clusters=clusters)
    return max(0.0, low), min(100.0, high)
