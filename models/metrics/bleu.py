"""Corpus BLEU-4 of code (Papineni et al. 2002), on the tokens of Ling et al. 2016, section 6."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_ORDER = 4
Stats = NDArray[np.int64]

_OUTSIDE_WORDS = re.compile(r"([^A-Za-z0-9_])")
_LOWER_UPPER = re.compile(r"([a-z])([A-Z])")


def code_tokens(code: str) -> list[str]:
    """`code` as BLEU-4 counts it: identifiers split at lowerUpper, both quotes the same."""
    spaced = _OUTSIDE_WORDS.sub(r" \1 ", code)
    spaced = _LOWER_UPPER.sub(r"\1 \2", spaced)
    return spaced.replace('"', "`").replace("'", "`").split()


def ngram_stats(predicted: Sequence[str], expected: Sequence[str]) -> Stats:
    """What BLEU needs to know of one row; the stats of a corpus are the sum over its rows.

    Shape [10]: length predicted, length expected, matching n-grams and predicted n-grams of
    orders 1 to 4.
    """
    matches, possible = [], []
    for order in range(1, MAX_ORDER + 1):
        grams = _ngrams(predicted, order)
        matches.append((grams & _ngrams(expected, order)).total())
        possible.append(grams.total())
    return np.array([len(predicted), len(expected), *matches, *possible], dtype=np.int64)


def bleu_stats(prediction: str, reference: str) -> Stats:
    """`ngram_stats` of a row's code tokens."""
    return ngram_stats(code_tokens(prediction), code_tokens(reference))


def corpus_bleu(stats: ArrayLike, *, smooth: bool = False) -> NDArray[np.float64]:
    """BLEU in percent of summed stats, one corpus per leading index: shape [..., 10] -> [...].

    Without smoothing, an order without a match makes the score 0. With it, the k-th such order
    counts 1/2^k matches (NIST's mteval, sacrebleu's default `exp`).
    """
    sums = np.asarray(stats, dtype=np.float64)
    predicted, expected = sums[..., 0], sums[..., 1]
    matches, possible = sums[..., 2 : 2 + MAX_ORDER], sums[..., 2 + MAX_ORDER :]
    any_match = matches.any(axis=-1)
    if smooth:
        unmatched = (matches == 0) & (possible > 0)
        matches = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), matches)
    with np.errstate(divide="ignore"):
        log_precision = np.log(_ratio(matches, possible)).mean(axis=-1)
    log_brevity = np.minimum(0.0, 1.0 - _ratio(expected, predicted))
    return np.where(any_match, 100.0 * np.exp(log_brevity + log_precision), 0.0)


def bleu4(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 in percent, one reference a row, not smoothed; 0 where there are no rows.

    ValueError where the numbers of predictions and references differ.
    """
    rows = [bleu_stats(*pair) for pair in zip(predictions, references, strict=True)]
    return float(corpus_bleu(sum(rows, np.zeros(2 + 2 * MAX_ORDER, dtype=np.int64))))


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
