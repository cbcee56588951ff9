"""The learning curve: the score of each cell by the number of train rows that its exemplars come from."""

from __future__ import annotations

from dataclasses import replace

from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.effects import decisive_metric
from producer.results.report.table_parts import NOTHING, Section, Value, interval_text


def without_size(cell: Cell) -> Cell:
    """Return the cell that all sizes of it have in common."""
    return replace(cell, train_rows=0)


def curves(report: Report) -> dict[Cell, dict[int, TableRow]]:
    """Return the rows of the table with a score by cell and by number of train rows, if there are several."""
    metric = decisive_metric(report.metrics)
    scored = [row for row in report.table if row.cell.train_rows and metric in row.measures]
    by_cell: dict[Cell, dict[int, TableRow]] = {}
    for row in sorted(scored, key=lambda row: row.cell.train_rows):
        by_cell.setdefault(without_size(row.cell), {})[row.cell.train_rows] = row
    return by_cell if len({row.cell.train_rows for row in scored}) > 1 else {}


def learning_curve(report: Report) -> Section:
    """Return the decisive score of each cell by size."""
    metric, by_cell = decisive_metric(report.metrics), curves(report)
    sizes = sorted({size for by_size in by_cell.values() for size in by_size})
    return Section(
        "Learning curve",
        ("Cell", *(f"{size:,} rows" for size in sizes)),
        [
            [Value(cell.name), *(_score(by_size.get(size), metric) for size in sizes)]
            for cell, by_size in by_cell.items()
        ],
        f"{report.metrics.get(metric, '')} in percent with its 95 % interval, by the number of train rows "
        "that exemplars are drawn from; a larger number contains the smaller. A search of method learned "
        "has learned from all train rows, whatever the number.",
    )


def _score(row: TableRow | None, metric: str) -> Value:
    if row is None:
        return Value(NOTHING)
    measure = row.measures[metric]
    return Value(f"{measure.value:.2f}", interval_text(measure.low, measure.high))
