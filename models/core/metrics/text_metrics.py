"""Metrics of texts, from stats of rows that are summed over a corpus.

BLEU-4 of code (Papineni et al. 2002) on the tokens of Ling et al. 2016, section 6. charBLEU is sacrebleu's
BLEU with `tokenize="char"`. chrF (Popovic 2015) is the F-score of character n-grams with recall weighted
twice, as in sacrebleu. Token F1 (Rajpurkar et al., 2016) counts common words and symbols.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_ORDER = 4
Stats = NDArray[np.int64]
Floats = NDArray[np.float64]
_OUTSIDE_WORDS = re.compile(r"([^A-Za-z0-9_])")
_LOWER_UPPER = re.compile(r"([a-z])([A-Z])")


def code_tokens(code: str) -> list[str]:
    """Return the tokens of BLEU-4: identifiers are split at lowerUpper, and both quotes are the same."""
    spaced = _OUTSIDE_WORDS.sub(r" \1 ", code)
    spaced = _LOWER_UPPER.sub(r"\1 \2", spaced)
    return spaced.replace('"', "`").replace("'", "`").split()


def ngram_stats(predicted: Sequence[str], expected: Sequence[str]) -> Stats:
    """Return a row's counts for BLEU, shape [10]: predicted length, expected length, matching n-grams and
    predicted n-grams of orders 1 to 4."""
    matches, possible = [], []
    for order in range(1, MAX_ORDER + 1):
        grams = _ngrams(predicted, order)
        matches.append((grams & _ngrams(expected, order)).total())
        possible.append(grams.total())
    return np.array([len(predicted), len(expected), *matches, *possible], dtype=np.int64)


def bleu_stats(prediction: str, reference: str) -> Stats:
    """Return `ngram_stats` of a row's code tokens."""
    return ngram_stats(code_tokens(prediction), code_tokens(reference))


def corpus_bleu(stats: ArrayLike, *, smooth: bool = False) -> Floats:
    """Return BLEU in percent of summed stats, one corpus per leading index: shape [..., 10] -> [...].

    An order without a match makes the score 0. With smoothing, the k-th such order counts 1/2^k matches
    (NIST's mteval, sacrebleu's default `exp`).
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
    """Return corpus BLEU-4 in percent, one reference a row, not smoothed; 0 without rows. Raise ValueError if
    the numbers of predictions and references differ."""
    rows = [bleu_stats(*pair) for pair in zip(predictions, references, strict=True)]
    return float(corpus_bleu(sum(rows, np.zeros(2 + 2 * MAX_ORDER, dtype=np.int64))))


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, 0 if the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def char_bleu_stats(prediction: str, reference: str) -> Stats:
    """Return `ngram_stats` of a row's characters without blanks, shape [10]."""
    return ngram_stats("".join(prediction.split()), "".join(reference.split()))


def char_bleu(sums: Stats) -> float:
    """Return charBLEU in percent of summed stats, shape [10], by sacrebleu; 0 without rows.

    `corpus_bleu(sums, smooth=True)` returns the same for many corpora at once.
    """
    from sacrebleu.metrics.bleu import BLEU

    predicted, expected, *counts = (int(number) for number in sums)
    matches, possible = counts[:MAX_ORDER], counts[MAX_ORDER:]
    return float(BLEU.compute_bleu(matches, possible, predicted, expected, smooth_method="exp").score)


CHRF_ORDER = 6
BETA = 2


def chrf_stats(prediction: str, reference: str) -> Stats:
    """Return a row's counts for chrF, shape [18]: predicted, expected and matching n-grams of orders 1 to 6,
    without blanks. An order that is longer than the reference counts no predicted n-grams."""
    predicted, expected = "".join(prediction.split()), "".join(reference.split())
    stats = []
    for order in range(1, CHRF_ORDER + 1):
        wanted = _character_ngrams(expected, order)
        grams = _character_ngrams(predicted, order)
        stats += [grams.total() if wanted else 0, wanted.total(), (grams & wanted).total()]
    return np.array(stats, dtype=np.int64)


def corpus_chrf(stats: ArrayLike) -> Floats:
    """Return chrF in percent of summed stats, one corpus per leading index: shape [..., 18] -> [...].

    Precision and recall are averaged over the orders that both sides have.
    """
    sums = np.asarray(stats, dtype=np.float64)
    counts = sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3)
    predicted, expected, matching = counts[..., 0], counts[..., 1], counts[..., 2]
    both = (predicted > 0) & (expected > 0)
    orders = both.sum(axis=-1).astype(np.float64)
    precision = _ratio(_ratio(matching, predicted * both).sum(axis=-1), orders)
    recall = _ratio(_ratio(matching, expected * both).sum(axis=-1), orders)
    return 100.0 * _ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def _character_ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


_TOKEN = re.compile(r"\w+|[^\w\s]")


def token_f1(prediction: str, reference: str) -> float:
    """Return a score from 0 to 1 that ignores case and order. Two empty texts are equal."""
    predicted, expected = (Counter(_TOKEN.findall(text.lower())) for text in (prediction, reference))
    if not predicted or not expected:
        return float(predicted == expected)
    return 2 * (predicted & expected).total() / (predicted.total() + expected.total())
