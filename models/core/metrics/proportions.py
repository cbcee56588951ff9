"""Confidence intervals of shares."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.metrics.quantiles import t_quantile

Z = 1.959963984540054  # 95 %
# So many right (or wrong) answers weigh as much as the assumption that answers of a cluster are all alike.
_WEIGHT_OF_ALIKE = 1.0


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % interval of `part` of `whole` in percent, after Wilson (1927). It is sound also for few
    rows and for shares near 0 and 100 %. Raise ValueError without rows."""
    if not whole:
        raise ValueError("an interval needs at least one row")
    return _wilson(part / whole, whole, Z)


def share_interval(parts: ArrayLike, wholes: ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of a share in percent, from the right answers (`parts`) and all answers
    (`wholes`) of each cluster, both of shape [clusters].

    It is Wilson's for so many independent answers as these are worth: their number over the design effect
    (Kish 1965), with Student's t for few clusters (Dean and Pagano 2015). The design effect is estimated from
    the answers; where nearly all are right or wrong they tell little of it, and clusters are taken to be all
    alike. One answer a cluster is `wilson`; of one cluster of several answers, anything is possible. Raise
    ValueError without answers.
    """
    right, answers = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    right, answers = right[answers > 0], answers[answers > 0]
    total, clusters = float(answers.sum()), len(answers)
    if not clusters:
        raise ValueError("an interval needs at least one row")
    share = float(right.sum()) / total
    if total <= clusters:
        return _wilson(share, total, Z)
    if clusters == 1:
        return 0.0, 100.0
    return _wilson(share, total / _design_effect(right, answers), t_quantile(0.975, clusters - 1))


def _design_effect(right: NDArray[np.float64], answers: NDArray[np.float64]) -> float:
    """Return by how much the variance of the share is larger than that of independent answers, from 1 to its
    value for clusters that are all alike."""
    total, clusters = float(answers.sum()), len(answers)
    share = float(right.sum()) / total
    if_alike = float((answers**2).sum() / total)
    independent = share * (1 - share) * total
    seen = float(((right - share * answers) ** 2).sum()) * clusters / (clusters - 1)
    weighed = (seen + _WEIGHT_OF_ALIKE * if_alike) / (independent + _WEIGHT_OF_ALIKE)
    return min(max(1.0, weighed), if_alike)


def _wilson(share: float, answers: float, z: float) -> tuple[float, float]:
    width = z * z / answers
    centre = (share + width / 2) / (1 + width)
    half = z * sqrt(share * (1 - share) / answers + width / (4 * answers)) / (1 + width)
    return max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))
