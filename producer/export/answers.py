"""The students' answers: one row per cell of the grid, test example and seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from models.ablation import Cell, cells
from producer.export.shapes import Shape, dollars
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows
from storage.schema import TEST

ANSWER: Shape = {
    "question_id": str,
    "row": int,
    "request": str,
    "reference": str,
    "variant": str,
    "student": str,
    "shots": int,
    "retrieval": str,
    "rationale": str,
    "augment_test": bool,
    "exemplar_choice": str,
    "sample": int,
    "seed": int,
    "exemplars": [int],
    "passages": int,
    "dropped": {"passages": int, "exemplars": int},
    "text": str,
    "truncated": bool,
    "prediction": str,
    "exact_match": bool,
    "execution": str,
    "execution_detail": str,
    "provenance": {
        "run": str,
        "experiment": str,
        "model": str,
        "generation": str,
        "cost_usd": float,
    },
}


def answer_rows(db: Database, run: Run) -> Iterator[dict[str, Any]]:
    """Finished answers of shape ANSWER; `prediction` and `exact_match` are null where not judged yet,
    `execution` where not executed. `exemplars` are rows of the train split; `dropped`
    counts what the model's context had no room for."""
    grid = {cell.variant: cell for cell in cells(run.experiment)}
    finished = rows(db, run.id, stages=("answer", "judge"), split=TEST)
    # An answer and its judge are planned one after the other.
    for _, units in groupby(finished, key=lambda unit: (unit.example_id, unit.variant, unit.sample)):
        of_stage = {unit.stage: unit for unit in units}
        if answer := of_stage.get("answer"):
            yield _row(run, grid[answer.variant], answer, of_stage.get("judge"))


def _row(run: Run, cell: Cell, answer: Row, judge: Row | None) -> dict[str, Any]:
    verdict = judge.result if judge else {}
    executed = verdict.get("execution") or {}
    return {
        "question_id": answer.question_id,
        "row": answer.number,
        "request": answer.request,
        "reference": answer.reference,
        "variant": answer.variant,
        "student": cell.student,
        "shots": cell.shots,
        "retrieval": cell.retrieval_word,
        "rationale": cell.rationale,
        "augment_test": cell.augment_test,
        "exemplar_choice": cell.exemplars,
        "sample": answer.sample,
        "seed": run.experiment.grid.seeds[answer.sample],
        "exemplars": list(answer.result.get("exemplars", ())),
        "passages": answer.result.get("passages"),
        "dropped": answer.result.get("dropped") or {"passages": 0, "exemplars": 0},
        "text": answer.result.get("text"),
        "truncated": bool(answer.result.get("truncated")),
        "prediction": verdict.get("prediction"),
        "exact_match": verdict.get("exact_match"),
        "execution": executed.get("outcome"),
        "execution_detail": executed.get("detail"),
        "provenance": {
            "run": run.id,
            "experiment": run.name,
            "model": run.experiment.student(cell.student).model_name,
            "generation": answer.generation,
            "cost_usd": dollars(answer.cost_nano_usd or 0),
        },
    }
