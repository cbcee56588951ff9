"""chrF of a corpus (Popovic 2015): F-score of character n-grams, recall weighted twice, as in sacrebleu."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_ORDER = 6
BETA = 2


def chrf_stats(prediction: str, reference: str) -> NDArray[np.int64]:
    """What chrF needs to know of one row; the stats of a corpus are the sum over its rows.

    Shape [18]: for each order from 1 to 6 the n-grams predicted, expected and matching, blanks left out.
    Orders that the reference is too short for count no predicted n-grams.
    """
    predicted, expected = "".join(prediction.split()), "".join(reference.split())
    stats = []
    for order in range(1, MAX_ORDER + 1):
        wanted = _ngrams(expected, order)
        grams = _ngrams(predicted, order)
        stats += [grams.total() if wanted else 0, wanted.total(), (grams & wanted).total()]
    return np.array(stats, dtype=np.int64)


def corpus_chrf(stats: ArrayLike) -> NDArray[np.float64]:
    """chrF in percent of summed stats, one corpus per leading index: shape [..., 18] -> [...].

    Precision and recall are averaged over the orders that both sides have.
    """
    sums = np.asarray(stats, dtype=np.float64)
    counts = sums.reshape(*sums.shape[:-1], MAX_ORDER, 3)
    predicted, expected, matching = counts[..., 0], counts[..., 1], counts[..., 2]
    both = (predicted > 0) & (expected > 0)
    orders = both.sum(axis=-1)
    precision = _mean(_ratio(matching, predicted, both), orders)
    recall = _mean(_ratio(matching, expected, both), orders)
    weighted = BETA**2 * precision + recall
    return 100.0 * _ratio((1 + BETA**2) * precision * recall, weighted, weighted > 0)


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _mean(values: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    return _ratio(values.sum(axis=-1), orders.astype(np.float64), orders > 0)


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=where)
