"""The ablation table as CSV: one line per cell, one column per number."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from producer.report.build import Report
from producer.report.effects import Comparison
from producer.report.tables import TableRow

CELL = (
    "run", "student", "variant", "shots", "retrieval", "rationale", "augment_test", "exemplars",
    "seeds", "n", "planned", "truncated", "unparsable",
)  # fmt: skip
MEASURE = ("", "_low", "_high", "_sd")
# What a cell is compared with, and the end of the columns' names.
AGAINST: dict[str, Callable[[Comparison], bool]] = {
    "baseline": lambda found: found.baseline,
    "no_retrieval": lambda found: found.retrieval,
}
DIFFERENCE = ("", "_low", "_high", "_p", "_p_holm")


def render(report: Report) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [f"{name}{part}" for name in report.metrics for part in MEASURE]
    effects = [
        f"{name}_vs_{what}{part}" for what in AGAINST for name in report.compared for part in DIFFERENCE
    ]
    writer.writerow([*CELL, *scores, *effects])
    writer.writerows(_line(report, row) for row in report.table)
    return text.getvalue()


def _line(report: Report, row: TableRow) -> list[str]:
    cell = row.cell
    scores = []
    for name in report.metrics:
        measure = row.measures.get(name)
        parts = (measure.value, measure.low, measure.high, measure.sd) if measure else [None] * len(MEASURE)
        scores += ["" if part is None else f"{part:.4f}" for part in parts]
    effects = [part for of in AGAINST.values() for part in _effects(report, row, of)]
    return [
        report.run, cell.student, cell.variant, str(cell.shots), cell.retrieval_word, cell.rationale,
        str(cell.augment_test).lower(), cell.exemplars,
        str(len(report.seeds)), str(row.n), str(row.planned), str(row.truncated), str(row.unparsable),
        *scores, *effects,
    ]  # fmt: skip


def _effects(report: Report, row: TableRow, wanted: Callable[[Comparison], bool]) -> list[str]:
    found = next((each for each in report.effects if each.cell == row.cell and wanted(each)), None)
    if found is None:
        return [""] * len(DIFFERENCE) * len(report.compared)
    parts = []
    for name in report.compared:
        each = found.differences[name]
        parts += [f"{each.value:.4f}", f"{each.low:.4f}", f"{each.high:.4f}"]
        parts += [f"{each.p_value:.4g}", f"{each.p_holm:.4g}"]
    return parts
