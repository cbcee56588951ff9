"""The report as one JSON object, with everything that the other formats show.

The ablation table as CSV: one line per cell, one column per number.

Which formats there are. Each renderer turns a Report into the whole text of a file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from producer.results.report import latex, markdown
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.effects import CellComparison
from producer.results.report.html import page
from producer.results.report.measures import RetrievalQuality, as_document

DECIMALS = 4


def render_json(report: Report) -> str:
    return json.dumps(document(report), ensure_ascii=False, indent=2) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Scores are in percent; a cell without an answer has an empty `scores`."""
    return {
        "run": report.run,
        "experiment": report.experiment,
        "state": report.state,
        "teacher": report.teacher,
        "students": report.students,
        "seeds": list(report.seeds),
        "statistics": asdict(report.statistics),
        "stages": [{**asdict(stage), "left": stage.left} for stage in report.stages],
        "ablation": [_row(row) for row in report.table],
        "effects": [_effect(found) for found in report.effects],
        "retrieval": [_quality(found) for found in report.retrieval],
        "execution": as_document(report.execution) if report.execution else None,
        "failure_modes": [asdict(found) for found in report.failing],
        "spending": [asdict(found) for found in report.spending],
        "notes": list(report.notes),
    }


def _quality(found: RetrievalQuality) -> dict[str, Any]:
    """Precision and miss rate in percent; precision is null where nothing is shown."""
    precision = None if found.precision is None else round(found.precision, DECIMALS)
    return {
        **asdict(found),
        "tokens": round(found.tokens, DECIMALS),
        "precision": precision,
        "miss_rate": round(found.miss_rate, DECIMALS),
    }


def _row(row: TableRow) -> dict[str, Any]:
    scores = {
        name: {part: _rounded(value) for part, value in asdict(measure).items()}
        for name, measure in row.measures.items()
    }
    cell = asdict(row.cell)
    del cell["exemplars_vary"]
    return {
        "variant": row.cell.variant,
        **cell,
        "retrieval": row.cell.retrieval_word,
        "n": row.n,
        "planned": row.planned,
        "scores": scores,
        "best": list(row.best),
        "exemplars_shown": round(row.shown, DECIMALS),
        "answers_with_fewer_exemplars": row.fewer,
        "answers_shortened": row.shortened,
        "dropped": {"passages": row.dropped[0], "exemplars": row.dropped[1]},
        "answers_truncated": row.truncated,
        "answers_unparsable": row.unparsable,
    }


def _effect(found: CellComparison) -> dict[str, Any]:
    """p-values as they are and corrected (`p_holm`)."""
    return {
        "variant": found.cell.variant,
        "against": found.against.variant,
        "baseline": found.baseline,
        "retrieval": found.retrieval,
        "n": found.n,
        "differences": {
            name: {
                part: value if part.startswith("p_") else _rounded(value)
                for part, value in asdict(difference).items()
            }
            for name, difference in found.differences.items()
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


CELL = (
    "run", "student", "variant", "shots", "retrieval", "rationale", "augment_test", "exemplars",
    "seeds", "n", "planned", "truncated", "unparsable",
)  # fmt: skip
MEASURE = ("", "_low", "_high", "_sd")
# What a cell is compared with, and the end of the columns' names.
AGAINST: dict[str, Callable[[CellComparison], bool]] = {
    "baseline": lambda found: found.baseline,
    "no_retrieval": lambda found: found.retrieval,
}
DIFFERENCE = ("", "_low", "_high", "_p", "_p_holm")


def render_csv(report: Report) -> str:
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


def _effects(report: Report, row: TableRow, wanted: Callable[[CellComparison], bool]) -> list[str]:
    found = next((each for each in report.effects if each.cell == row.cell and wanted(each)), None)
    if found is None:
        return [""] * len(DIFFERENCE) * len(report.compared)
    parts = []
    for name in report.compared:
        each = found.differences[name]
        parts += [f"{each.value:.4f}", f"{each.low:.4f}", f"{each.high:.4f}"]
        parts += [f"{each.p_value:.4g}", f"{each.p_holm:.4g}"]
    return parts


RENDERERS: Mapping[str, Callable[[Report], str]] = {
    "markdown": markdown.render_markdown,
    "latex": latex.render_latex,
    "csv": render_csv,
    "json": render_json,
    "html": page.render_html,
}
