"""All metrics of a set of answers, with confidence intervals where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics.bleu import bleu4, bleu_stats, corpus_bleu
from models.metrics.char_bleu import char_bleu, char_bleu_stats
from models.metrics.intervals import Floats, Interval, bootstrap
from models.syntax import parse


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in percent, not rounded. `parse_rate` is the share of answers that `ast.parse` accepts.

    `intervals` maps each metric's name to its 95 % confidence interval.
    """

    n: int
    bleu4: float
    char_bleu: float
    exact_match: float
    parse_rate: float
    intervals: dict[str, Interval] | None = None


def score(
    predictions: Sequence[str], references: Sequence[str], *, intervals: bool = False, seed: int = 0
) -> Scores:
    """The scores of predictions against their references, row by row; all 0 where there are no rows.

    ValueError where the numbers of predictions and references differ.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    parses = np.array([parse(prediction) is not None for prediction in predictions], dtype=np.bool_)
    return Scores(
        n=len(predictions),
        bleu4=bleu4(predictions, references),
        char_bleu=char_bleu(predictions, references),
        exact_match=exact_match(predictions, references),
        parse_rate=_share(parses),
        intervals=_intervals(predictions, references, parses, seed) if intervals and predictions else None,
    )


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Percent of rows whose strings are equal, character by character; 0 where there are no rows."""
    return _share(_equal(predictions, references))


def _intervals(
    predictions: Sequence[str], references: Sequence[str], parses: NDArray[np.bool_], seed: int
) -> dict[str, Interval]:
    pairs = list(zip(predictions, references, strict=True))

    def share(sums: Floats) -> Floats:
        return 100.0 * sums[:, 0] / len(pairs)

    def smoothed(sums: Floats) -> Floats:
        return corpus_bleu(sums, smooth=True)

    of_rows: dict[str, tuple[NDArray[np.generic], Callable[[Floats], Floats]]] = {
        "bleu4": (np.stack([bleu_stats(*pair) for pair in pairs]), corpus_bleu),
        "char_bleu": (np.stack([char_bleu_stats(*pair) for pair in pairs]), smoothed),
        "exact_match": (_equal(predictions, references)[:, None], share),
        "parse_rate": (parses[:, None], share),
    }
    return {name: bootstrap(stats, scorer, seed) for name, (stats, scorer) in of_rows.items()}


def _equal(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([a == b for a, b in zip(predictions, references, strict=True)], dtype=np.bool_)


def _share(flags: NDArray[np.bool_]) -> float:
    return 100.0 * float(flags.mean()) if len(flags) else 0.0
