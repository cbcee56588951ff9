"""The report as one JSON object, with everything that the other formats show."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from producer.report.build import Report
from producer.report.execution import as_document
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
        "execution": as_document(report.execution) if report.execution else None,
        "notes": list(report.notes),
    }


def _row(row: TableRow) -> dict[str, Any]:
    scores = {
        name: {part: round(value, DECIMALS) for part, value in asdict(measure).items()}
        for name, measure in row.measures.items()
    }
    return {
        "variant": row.cell.variant,
        **asdict(row.cell),
        "n": row.n,
        "planned": row.planned,
        "scores": scores,
        "best": list(row.best),
        "exemplars_shown": round(row.shown, DECIMALS),
        "answers_with_fewer_exemplars": row.fewer,
        "answers_truncated": row.truncated,
    }
