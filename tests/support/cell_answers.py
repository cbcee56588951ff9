"""Cells of a grid with the answers that a test gives, and a report of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from models.core.experiment.families import Contrasts
from models.core.experiment.options import Metric
from models.core.metrics.scores import row_stats
from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import CellScores
from producer.results.report.build import Report
from producer.results.report.effects import axis_effects, compare_cells
from tests.support.reports import empty

METRICS: tuple[Metric, ...] = ("bleu4", "exact_match")
FIRST, STAR = (Cell("pupil", 2, "", source, exemplars="random") for source in ("first_pass", "star"))


def reference(row: int) -> str:
    return f"answer({row}, sorted)"


def answers(right: int, rows: int = 60) -> list[str]:
    """Return answers of which the first ones are right."""
    return [reference(row) if row < right else "wrong(x)" for row in range(rows)]


def cell_scores(
    cell: Cell, *seeds: Sequence[str | None], questions: Sequence[str] | None = None
) -> CellScores:
    """Return a cell with the answers of its seeds, row by row; None is a row that failed."""
    scores = CellScores(cell)
    for seed, texts in enumerate(seeds):
        scores.scored[seed] = {
            row: None if text is None else row_stats(text, reference(row)) for row, text in enumerate(texts)
        }
        scores.questions |= {row: questions[row] if questions else f"q{row}" for row in range(len(texts))}
    return scores


def compared(
    *cells: CellScores, declared: Contrasts | None = None, metrics: tuple[Metric, ...] = METRICS
) -> Report:
    """Return a report with the differences of cells and nothing else."""
    effects = compare_cells(cells, metrics, declared)
    return replace(
        empty(), effects=effects, axis_effects=axis_effects(cells, metrics, declared), scores=metrics
    )


def wide_grid(retrievals: int, shots: int) -> list[Cell]:
    names = ["", "retrieval", *(f"search{n}" for n in range(2, retrievals))]
    return [Cell("pupil", 1 + number, name, "none") for name, number in product(names, range(shots))]
