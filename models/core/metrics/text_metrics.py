"""Corpus BLEU-4 of code (Papineni et al. 2002), on the tokens of Ling et al. 2016, section 6.

Corpus BLEU of characters: sacrebleu with `tokenize="char"`, the rest default.

chrF of a corpus (Popovic 2015): F-score of character n-grams, recall weighted twice, as in sacrebleu.

Token F1 (Rajpurkar et al., 2016): how many words and symbols two texts share.
"""

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
        log_precision = np.log(_precision(matches, possible)).mean(axis=-1)
    log_brevity = np.minimum(0.0, 1.0 - _precision(expected, predicted))
    return np.where(any_match, 100.0 * np.exp(log_brevity + log_precision), 0.0)


def bleu4(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 in percent, one reference a row, not smoothed; 0 where there are no rows.

    ValueError where the numbers of predictions and references differ.
    """
    rows = [bleu_stats(*pair) for pair in zip(predictions, references, strict=True)]
    return float(corpus_bleu(sum(rows, np.zeros(2 + 2 * MAX_ORDER, dtype=np.int64))))


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _precision(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def char_bleu_stats(prediction: str, reference: str) -> Stats:
    """`ngram_stats` of a row's characters, blanks left out: shape [10]."""
    return ngram_stats("".join(prediction.split()), "".join(reference.split()))


def char_bleu(sums: Stats) -> float:
    """charBLEU in percent of summed stats, shape [10], by sacrebleu; 0 where there are no rows.

    `corpus_bleu(sums, smooth=True)` gives the same for many corpora at once.
    """
    from sacrebleu.metrics.bleu import BLEU

    predicted, expected, *counts = (int(number) for number in sums)
    found = BLEU.compute_bleu(
        counts[:MAX_ORDER], counts[MAX_ORDER:], predicted, expected, smooth_method="exp"
    )
    return float(found.score)


CHRF_ORDER = 6
BETA = 2


def chrf_stats(prediction: str, reference: str) -> NDArray[np.int64]:
    """What chrF needs to know of one row; the stats of a corpus are the sum over its rows.

    Shape [18]: for each order from 1 to 6 the n-grams predicted, expected and matching, blanks left out.
    Orders that the reference is too short for count no predicted n-grams.
    """
    predicted, expected = "".join(prediction.split()), "".join(reference.split())
    stats = []
    for order in range(1, CHRF_ORDER + 1):
        wanted = _character_ngrams(expected, order)
        grams = _character_ngrams(predicted, order)
        stats += [grams.total() if wanted else 0, wanted.total(), (grams & wanted).total()]
    return np.array(stats, dtype=np.int64)


def corpus_chrf(stats: ArrayLike) -> NDArray[np.float64]:
    """chrF in percent of summed stats, one corpus per leading index: shape [..., 18] -> [...].

    Precision and recall are averaged over the orders that both sides have.
    """
    sums = np.asarray(stats, dtype=np.float64)
    counts = sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3)
    predicted, expected, matching = counts[..., 0], counts[..., 1], counts[..., 2]
    both = (predicted > 0) & (expected > 0)
    orders = both.sum(axis=-1)
    precision = _mean(_chrf_ratio(matching, predicted, both), orders)
    recall = _mean(_chrf_ratio(matching, expected, both), orders)
    weighted = BETA**2 * precision + recall
    return 100.0 * _chrf_ratio((1 + BETA**2) * precision * recall, weighted, weighted > 0)


def _character_ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _mean(values: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    return _chrf_ratio(values.sum(axis=-1), orders.astype(np.float64), orders > 0)


def _chrf_ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=where)


_TOKEN = re.compile(r"\w+|[^\w\s]")


def token_f1(prediction: str, reference: str) -> float:
    """From 0 to 1, case aside; order does not count. Two empty texts are equal."""
    said, expected = (Counter(_TOKEN.findall(text.lower())) for text in (prediction, reference))
    if not said or not expected:
        return float(said == expected)
    return 2 * (said & expected).total() / (said.total() + expected.total())
