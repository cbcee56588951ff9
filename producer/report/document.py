"""The report as one JSON object, with everything that the other formats show."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from producer.report.build import Report
from producer.report.effects import Comparison
from producer.report.execution import as_document
from producer.report.retrieval import Quality
from producer.report.tables import TableRow

DECIMALS = 4


def render(report: Report) -> str:
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


def _quality(found: Quality) -> dict[str, Any]:
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


def _effect(found: Comparison) -> dict[str, Any]:
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
