"""The verdicts and scores of two runs on the same rows, measured against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.paired_effects import Effect, paired_effects, shuffles_for
from models.core.metrics.scores import WIDTH
from models.core.metrics.significance import Floats, Score
from producer.results.differences import Comparison, PairedRows, compare_pairs, exact_effect
from producer.results.row_verdicts import RowVerdict
from producer.results.step_verdicts import RIGHT

_NO_SCORE = np.zeros(WIDTH, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class VerdictPairs:
    """The verdicts of both runs on rows that both answered with the same seed, by row. `seeds` are those that
    both have for some row; their answers to a row are paired by the number of the seed in its list."""

    before: Sequence[RowVerdict]
    after: Sequence[RowVerdict]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for was, is_now in self._rows for seed in was.right.keys() & is_now.right.keys()})

    @property
    def _rows(self) -> list[tuple[RowVerdict, RowVerdict]]:
        return [*zip(self.before, self.after, strict=True)]

    def right(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return right answers and answers of both sides, each of shape [rows, seeds, 2]."""
        seeds = self.seeds
        counts = [[_of_both(was, is_now, seed) for seed in seeds] for was, is_now in self._rows]
        of_both = np.array(counts, dtype=np.int64)
        return of_both[..., [0, 2]], of_both[..., [1, 2]]

    def compare(self, metrics: Sequence[str], tests: int) -> Comparison:
        """Return the differences in the share of right rows and, of answers, in these metrics, one of so many
        tests, before they are corrected."""
        clusters = np.unique([verdict.question for verdict in self.before], return_inverse=True)[1]
        right = self.right()
        effects = {RIGHT: _share_effect(*right, clusters, tests)}
        n, rows, questions = int(right[0][..., 1].sum()), len(self.before), len(np.unique(clusters))
        compared = Comparison.of_effects(n, rows, questions, effects)
        if not metrics or not any(verdict.stats for verdict in self.before):
            return compared
        pair = PairedRows(self._stats(self.before), self._stats(self.after), clusters)
        [of_answers] = compare_pairs([(pair, tests)], metrics)
        return replace(compared, differences=compared.differences | of_answers.differences)

    def _stats(self, side: Sequence[RowVerdict]) -> NDArray[np.int64]:
        paired = self.right()[0][..., 1, None]
        stats = [[verdict.stats.get(seed, _NO_SCORE) for seed in self.seeds] for verdict in side]
        return np.array(stats) * paired


def _of_both(was: RowVerdict, is_now: RowVerdict, seed: int) -> tuple[bool, bool, bool]:
    if seed in was.right and seed in is_now.right:
        return was.right[seed], is_now.right[seed], True
    return False, False, False


def mean_share(counts: NDArray[np.int64]) -> float:
    """Return the mean over seeds of the share of right answers in percent."""
    return float(_share_of_seeds(counts.shape[1])(counts.sum(axis=0).reshape(1, -1).astype(np.float64))[0])


def _share_of_seeds(seeds: int) -> Score:
    def mean(sums: Floats) -> Floats:
        right, answers = np.moveaxis(sums.reshape(-1, seeds, 2), -1, 0)
        shares = 100.0 * np.divide(right, answers, out=np.zeros_like(right), where=answers > 0)
        return np.asarray(shares.mean(axis=-1), dtype=np.float64)

    return mean


def _share_effect(
    before: NDArray[np.int64], after: NDArray[np.int64], clusters: NDArray[np.int64], tests: int
) -> Effect:
    rows, seeds, _ = before.shape
    flat = before.reshape(rows, -1), after.reshape(rows, -1)
    scores, complete = {RIGHT: _share_of_seeds(seeds)}, bool(before[..., 1].all())
    shuffles = 0 if complete else shuffles_for(tests)
    effect = paired_effects(*flat, scores, clusters=clusters, shuffles=shuffles)[RIGHT]
    if not complete:
        return effect
    was, is_now = before[..., 0].sum(axis=1), after[..., 0].sum(axis=1)
    return exact_effect(effect, was, is_now, clusters)
