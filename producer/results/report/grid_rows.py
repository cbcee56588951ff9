"""The answers of all cells by row, and those of compared cells beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.scores import COUNT, WIDTH
from models.core.metrics.seed_scores import Stats
from models.core.pipeline.contrasts import Cells
from models.core.pipeline.grid import Cell
from producer.results.differences import PairedRows
from producer.results.report.ablation_table import CellScores

Answered = NDArray[np.bool_]


class GridRows:
    """The stats of the rows of a grid's cells."""

    def __init__(self, cell_scores: Sequence[CellScores]) -> None:
        self._scored = {scores.cell: scores.scored for scores in cell_scores}
        seen = (row for by_seed in self._scored.values() for by_row in by_seed.values() for row in by_row)
        self._indices = {row: index for index, row in enumerate(dict.fromkeys(seen))}
        self._seeds = sorted({seed for by_seed in self._scored.values() for seed in by_seed})
        questions = {row: name for scores in cell_scores for row, name in scores.questions.items()}
        names = np.array([questions[row] for row in self._indices], dtype=np.str_)
        self._questions = np.unique(names, return_inverse=True)[1]
        self._answered = {cell: self._which(by_seed) for cell, by_seed in self._scored.items()}

    def _which(self, by_seed: Mapping[int, Mapping[int, Stats | None]]) -> Answered:
        answered = np.zeros((len(self._indices), len(self._seeds)), dtype=np.bool_)
        for at, seed in enumerate(self._seeds):
            for row, stats in by_seed.get(seed, {}).items():
                answered[self._indices[row], at] = stats is not None
        return answered

    def have(self, cells: Cells) -> bool:
        """Return true if all cells answered one of the rows."""
        return bool(self._answered_by_all(cells).any())

    def pair(self, blocks: Iterable[tuple[Cells, Cells]]) -> PairedRows:
        """Return the rows that all cells of a block answered, at least one, block by block."""
        befores, afters, scale = [], [], 1
        for before, after in blocks:
            scale = len(before)
            answered = self._answered_by_all((*before, *after))
            befores += [self._stats(cell, answered) for cell in before]
            afters += [self._stats(cell, answered) for cell in after]
        stats = [np.concatenate(side, axis=1) for side in (befores, afters)]
        rows = stats[0][..., COUNT].any(axis=1)
        return PairedRows(stats[0][rows], stats[1][rows], self._questions[rows], scale)

    def _answered_by_all(self, cells: Cells) -> Answered:
        """Return which answers all cells have, shape [rows, seeds]."""
        answered: Answered = np.all([self._answered[cell] for cell in cells], axis=0)
        return answered

    def _stats(self, cell: Cell, answered: Answered) -> Stats:
        """Return the stats of these answers of a cell, shape [rows, seeds, WIDTH], of seeds that have any."""
        stats = np.zeros((*answered.shape, WIDTH), dtype=np.int64)
        for at, seed in enumerate(self._seeds):
            of_seed = self._scored[cell].get(seed, {})
            for row, index in self._indices.items():
                if answered[index, at]:
                    stats[index, at] = of_seed[row]
        return stats[:, answered.any(axis=0)]
