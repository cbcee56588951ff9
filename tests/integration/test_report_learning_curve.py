"""The report shows the score of each cell by the number of train rows that its exemplars come from."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from producer.results.report.learning_curve import learning_curve
from producer.results.report.terminal import summary_tables
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.ledger_data import LedgerRun, answered, example, finish_train, judged


def finished(db: Database, **grid: Any) -> LedgerRun:
    """The student knows one of four test rows for every four train rows, and one more with a rationale."""
    axes = {"shots": [0, 1], "retrieval": [False], "rationale": ["none", "star"]}
    rows = [example(row) for row in range(4)]
    run = LedgerRun.plan(db, [example(row) for row in range(12)], rows, grid=axes | grid)
    finish_train(run)

    def answer(unit: ClaimedUnit) -> Any:
        _, of, size = unit.variant.removesuffix("/star").partition("-of-")
        right = (int(size) // 4 if of else 0) + unit.variant.endswith("star")
        return answered(unit.example.reference if unit.example.row < right else "wrong", [0])

    run.finish(TEST, "answer", answer)
    run.finish(TEST, "judge", judged)
    return run


def test_a_line_is_a_cell_and_a_column_a_size(db: Database) -> None:
    report = build_report(db, finished(db, train_rows=[12, 4]).run)
    section = learning_curve(report)
    assert section.headings == ("Cell", "4 rows", "12 rows")
    assert [[value.text for value in row] for row in section.rows] == [
        ["pupil/1-shot", "25.00", "75.00"],
        ["pupil/1-shot/star", "50.00", "100.00"],
    ]
    shown = RENDERERS["markdown"](report)
    assert "## Learning curve" in shown
    assert "| Train rows |" in shown
    assert "Exact match against train rows" in RENDERERS["html"](report)
    printed = Console(file=StringIO(), width=100, color_system=None)
    printed.print(*summary_tables(report))
    assert "Learning curve" in printed.file.getvalue()  # type: ignore[attr-defined]
    assert ",12," in RENDERERS["csv"](report)


def test_one_size_makes_no_curve(db: Database) -> None:
    report = build_report(db, finished(db, train_rows=[4]).run)
    assert learning_curve(report).rows == []
    assert "Learning curve" not in RENDERERS["html"](report)


def test_without_sizes_no_cell_names_one(db: Database) -> None:
    report = build_report(db, finished(db).run)
    assert "Train rows" not in RENDERERS["markdown"](report)
