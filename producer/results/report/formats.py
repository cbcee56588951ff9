"""The formats of a report: each renderer turns a Report into the whole text of a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from models.core.display import visible, visible_json
from producer.results.report import latex, markdown
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.effects import CellComparison
from producer.results.report.html import page
from producer.results.report.measures import Execution, RetrievalQuality

DECIMALS = 4
CELL_COLUMNS = (
    "run", "student", "variant", "shots", "retrieval", "rationale", "augment_test", "exemplars",
    "seeds", "n", "planned", "truncated", "unparsable",
)  # fmt: skip
# The ends of the columns of a score, and of a difference.
MEASURE = ("", "_low", "_high", "_sd")
DIFFERENCE = ("", "_low", "_high", "_p", "_p_holm")
# What a cell is compared with, by the word in the columns' names.
AGAINST: dict[str, Callable[[CellComparison], bool]] = {
    "baseline": lambda effect: effect.baseline,
    "no_retrieval": lambda effect: effect.retrieval,
}


def render_json(report: Report) -> str:
    """Return one JSON object. Scores are in percent; a cell without an answer has empty `scores`."""
    document = {
        "run": report.run,
        "experiment": report.experiment,
        "state": report.state,
        "teacher": report.teacher,
        "students": report.students,
        "seeds": list(report.seeds),
        "statistics": asdict(report.statistics),
        "stages": [{**asdict(stage), "left": stage.left} for stage in report.stages],
        "ablation": [_cell(row) for row in report.table],
        "effects": [_effect(effect) for effect in report.effects],
        "retrieval": [_quality(quality) for quality in report.retrieval],
        "execution": _execution(report.execution) if report.execution else None,
        "failure_modes": [asdict(stage) for stage in report.failing],
        "spending": [asdict(stage) for stage in report.spending],
        "possible_usd": report.possible_usd,
        "unpriced_models": list(report.unpriced),
        "notes": list(report.notes),
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _cell(row: TableRow) -> dict[str, Any]:
    cell = asdict(row.cell)
    del cell["exemplars_vary"]
    return {
        "variant": row.cell.name,
        **cell,
        "retrieval": row.cell.retrieval_word,
        "n": row.n,
        "planned": row.planned,
        "scores": {name: _rounded(asdict(measure)) for name, measure in row.measures.items()},
        "best": list(row.best),
        "exemplars_shown": round(row.shown, DECIMALS),
        "answers_with_fewer_exemplars": row.fewer,
        "answers_shortened": row.shortened,
        "dropped": {"passages": row.dropped[0], "exemplars": row.dropped[1]},
        "answers_truncated": row.truncated,
        "answers_unparsable": row.unparsable,
    }


def _effect(effect: CellComparison) -> dict[str, Any]:
    """Describe a comparison; p-values, plain and corrected (`p_holm`), are not rounded."""
    return {
        "variant": effect.cell.name,
        "against": effect.against.name,
        "baseline": effect.baseline,
        "retrieval": effect.retrieval,
        "n": effect.n,
        "differences": {
            name: _rounded(asdict(difference)) for name, difference in effect.differences.items()
        },
    }


def _quality(quality: RetrievalQuality) -> dict[str, Any]:
    """Describe retrieval; precision and miss rate are in percent, precision is null if nothing is shown."""
    derived = {"precision": quality.precision, "miss_rate": quality.miss_rate}
    return {**asdict(quality), **_rounded({"tokens": quality.tokens, **derived})}


def _execution(execution: Execution) -> dict[str, Any]:
    cells = [
        {
            "variant": cell.variant,
            "n": cell.n,
            "outcomes": cell.outcomes,
            **{
                f"pass@{k}": {"value": measure.value, "low": measure.low, "high": measure.high}
                for k, measure in cell.pass_at.items()
            },
        }
        for cell in execution.cells
    ]
    return {**asdict(execution), "ceiling": round(execution.ceiling, DECIMALS), "cells": cells}


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        name: value if value is None or name.startswith("p_") else round(value, DECIMALS)
        for name, value in values.items()
    }


def render_csv(report: Report) -> str:
    """Return the ablation table as CSV: a line for each cell, a column for each number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [f"{name}{part}" for name in report.metrics for part in MEASURE]
    effects = [
        f"{name}_vs_{what}{part}" for what in AGAINST for name in report.compared for part in DIFFERENCE
    ]
    writer.writerow([*CELL_COLUMNS, *scores, *effects])
    writer.writerows(_line(report, row) for row in report.table)
    return text.getvalue()


def _line(report: Report, row: TableRow) -> list[str]:
    cell = row.cell
    scores: list[str] = []
    for name in report.metrics:
        measure = row.measures.get(name)
        parts = (measure.value, measure.low, measure.high, measure.sd) if measure else [None] * len(MEASURE)
        scores += ["" if part is None else f"{part:.4f}" for part in parts]
    effects = [part for is_wanted in AGAINST.values() for part in _effect_parts(report, row, is_wanted)]
    return [
        report.run, cell.student, cell.name, str(cell.shots), cell.retrieval_word, cell.rationale,
        str(cell.augment_test).lower(), cell.exemplars,
        str(len(report.seeds)), str(row.n), str(row.planned), str(row.truncated), str(row.unparsable),
        *scores, *effects,
    ]  # fmt: skip


def _effect_parts(report: Report, row: TableRow, is_wanted: Callable[[CellComparison], bool]) -> list[str]:
    effect = next((each for each in report.effects if each.cell == row.cell and is_wanted(each)), None)
    if effect is None:
        return [""] * len(DIFFERENCE) * len(report.compared)
    parts: list[str] = []
    for name in report.compared:
        each = effect.differences[name]
        parts += [f"{each.value:.4f}", f"{each.low:.4f}", f"{each.high:.4f}"]
        parts += [f"{each.p_value:.4g}", f"{each.p_holm:.4g}"]
    return parts


# What models and servers wrote may steer the terminal in which a report is read.
RENDERERS: Mapping[str, Callable[[Report], str]] = {
    "markdown": lambda report: visible(markdown.render_markdown(report)),
    "latex": lambda report: visible(latex.render_latex(report)),
    "csv": lambda report: visible(render_csv(report)),
    "json": lambda report: visible_json(render_json(report)),
    "html": lambda report: visible(page.render_html(report)),
}
