"""The ablation table as CSV: one line per cell, one column per number."""

from __future__ import annotations

import csv
import io

from producer.report.build import Report
from producer.report.tables import METRICS, TableRow

CELL = (
    "run", "student", "variant", "shots", "retrieval", "rationale", "augment_test", "exemplars",
    "seeds", "n", "planned",
)  # fmt: skip


def render(report: Report) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*CELL, *(f"{name}{part}" for name in METRICS for part in ("", "_low", "_high"))])
    writer.writerows(_line(report, row) for row in report.table)
    return text.getvalue()


def _line(report: Report, row: TableRow) -> list[str]:
    cell = row.cell
    scores = []
    for name in METRICS:
        measure = row.measures.get(name)
        parts = (measure.value, measure.low, measure.high) if measure else ()
        scores += [f"{part:.4f}" for part in parts] or [""] * 3
    return [
        report.run, cell.student, cell.variant, str(cell.shots), cell.retrieval_word, cell.rationale,
        str(cell.augment_test).lower(), cell.exemplars,
        str(len(report.seeds)), str(row.n), str(row.planned), *scores,
    ]  # fmt: skip
