"""Exported rows of students' answers, of failed units, and of generations as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from models.core.pipeline.grid import Cell, Searches, cells
from models.core.pipeline.plan import rows_per_call
from models.core.recording import recorded_row
from models.core.retrieval.passage_selection import hits_from_records, shown_hits
from models.core.types import JSON
from producer.results.export import columns
from producer.results.export.columns import Shape
from storage.database import Database
from storage.ledger.history import augmented, generations
from storage.ledger.queries import (
    ResultRow,
    answer_texts,
    failures,
    iter_rows,
    reasonings,
    rejected_texts,
    request_bodies,
    results,
)
from storage.ledger.runs import Run
from storage.ledger.step_units import step_units
from storage.schema import DONE, FAILED, TEST

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
    "wrong_rationales": bool,
    "train_rows": int,
    "augment_exemplars": bool,
    "sample": int,
    "seed": int,
    "exemplars": [int],
    "passages": int,
    "dropped": {"passages": int, "exemplars": int},
    "text": str,
    "truncated": bool,
    "prediction": str,
    "exact_match": bool,
    "correct": bool,
    "verdict": str,
    "verdict_text": str,
    "execution": str,
    "execution_detail": str,
    "provenance": {
        "run": str,
        "experiment": str,
        "model": str,
        "unit": str,
        "generation": str,
        "prompt_sha256": str,
        "passages": [str],
        "rule": str,
        "cost_usd": float,
        "starmill": str,
    },
}


def answer_rows(db: Database, run: Run, *, reasoning: bool = False) -> Iterator[dict[str, Any]]:
    """Yield finished answers of shape ANSWER, by cell of the grid, test example and seed.

    `prediction` and `exact_match` are null if not judged yet, `correct` without a rule, `execution` if not
    executed. `verdict` is what a judge model's reply, `verdict_text`, says: right, wrong, or no_verdict.
    `exemplars` are rows of the train split; the model's context had no room for those `dropped`.
    """
    grid = {cell.name: cell for cell in cells(run.experiment)}
    searches = Searches.read(run.experiment.passages)
    for batch in columns.in_batches(_answers(db, run)):
        keys = [answer.generation for answer, _ in batch if answer.generation]
        requests, thoughts = request_bodies(db, keys), reasonings(db, keys) if reasoning else None
        replies = answer_texts(db, [key for _, judge in batch if judge and (key := _verdict(judge)[1])])
        searched = results(db, run.id, "retrieve", list({answer.example_id for answer, _ in batch}))
        for answer, judge in batch:
            cell = grid[answer.variant]
            row = _row(run, cell, answer, judge, replies)
            provenance = _provenance(run, cell, answer, requests.get(answer.generation or ""))
            provenance["passages"] = _shown(cell, answer, searches, searched)
            whole = columns.of_run(run, {**row, "provenance": provenance})
            yield columns.with_reasoning(whole, thoughts, answer.generation)


def _answers(db: Database, run: Run) -> Iterator[tuple[ResultRow, ResultRow | None]]:
    """Yield each answer with its judge if that has ended: they are planned one after the other."""
    finished = iter_rows(db, run.id, stages=("answer", "judge"), states=(DONE, FAILED), split=TEST)
    for _, units in groupby(finished, key=lambda unit: (unit.example_id, unit.variant, unit.sample)):
        by_stage = {unit.stage: unit for unit in units}
        if (answer := by_stage.get("answer")) and answer.state == DONE:
            yield answer, by_stage.get("judge")


def _verdict(judge: ResultRow) -> tuple[str | None, str | None]:
    """Return what a judge model says, and the key of its reply."""
    if judge.state == FAILED:
        return judge.reason if judge.generation else None, judge.generation
    verdict = judge.result.get("verdict") or {}
    return verdict.get("said"), verdict.get("generation")


def _shown(
    cell: Cell, answer: ResultRow, searches: Searches, searched: dict[tuple[int, str], dict[str, Any]]
) -> list[str]:
    """Return ids of the passages that the prompt had room for, best first."""
    if cell.retrieval not in searches.choices:
        return []
    record = searched.get((answer.example_id, searches.unit_name(cell.wording, cell.retrieval)), {})
    chosen = shown_hits(hits_from_records(record.get("passages", ())), searches.choices[cell.retrieval])
    return [hit.passage.id for hit in chosen[: answer.result.get("passages", 0)]]


def _provenance(run: Run, cell: Cell, answer: ResultRow, body: JSON | None) -> dict[str, Any]:
    """Return the origin of an answer; `rule` names how the prediction is taken from it."""
    return {
        "run": run.id,
        "experiment": run.name,
        "model": answer.model or run.experiment.student(cell.student).model_name,
        "unit": columns.unit_name(answer),
        "generation": answer.generation,
        "prompt_sha256": columns.prompt_sha256(body),
        "passages": [],
        "rule": run.experiment.judge.extraction,
        "cost_usd": columns.known_dollars(run, answer.cost_nano_usd or 0),
        "starmill": columns.starmill_version(),
    }


def _row(
    run: Run, cell: Cell, answer: ResultRow, judge: ResultRow | None, replies: dict[str, str]
) -> dict[str, Any]:
    judged = judge.result if judge else {}
    executed = judged.get("execution") or {}
    verdict, reply = _verdict(judge) if judge else (None, None)
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
        "wrong_rationales": cell.wrong_rationales,
        "train_rows": cell.train_rows,
        "augment_exemplars": cell.augment_exemplars,
        "sample": answer.sample,
        "seed": run.experiment.grid.seeds[answer.sample],
        "exemplars": list(answer.result.get("exemplars", ())),
        "passages": answer.result.get("passages"),
        "dropped": answer.result.get("dropped") or {"passages": 0, "exemplars": 0},
        "text": answer.result.get("text"),
        "truncated": bool(answer.result.get("truncated")),
        "prediction": judged.get("prediction"),
        "exact_match": judged.get("exact_match"),
        "correct": judged.get("correct"),
        "verdict": verdict,
        "verdict_text": replies.get(reply or ""),
        "execution": executed.get("outcome"),
        "execution_detail": executed.get("detail"),
    }


FAILURE: Shape = {
    "unit": int,
    "run": str,
    "stage": str,
    "variant": str,
    "sample": int,
    "split": str,
    "row": int,
    "question_id": str,
    "request": str,
    "reason": str,
    "detail": str,
    "attempts": int,
    "rejected": [{"reason": str, "detail": str, "text": str}],
}


def failure_rows(db: Database, run: Run) -> Iterator[dict[str, Any]]:
    """Yield failed units of shape FAILURE. A rejected `text` is null if the provider sent none."""
    for unit in failures(db, run.id):
        yield {
            "unit": unit.unit_id,
            "run": run.id,
            "stage": unit.stage,
            "variant": unit.variant,
            "sample": unit.sample,
            "split": unit.split,
            "row": unit.number,
            "question_id": unit.question_id,
            "request": unit.request,
            "reason": unit.reason,
            "detail": unit.detail,
            "attempts": unit.attempts,
            "rejected": [
                {"reason": reason, "detail": detail, "text": text}
                for reason, detail, text in rejected_texts(db, unit.unit_id)
            ],
        }


def generation_rows(db: Database, run: Run) -> Iterator[dict[str, Any]]:
    """Yield every answer with its request, as a recording that `teacher.recording` can name.

    If one call serves several rows, the result of each follows: a repeated run may group others.
    """
    for key, stage, request, completion, cost in generations(db, run.id):
        yield {
            "key": key,
            "stage": stage,
            **recorded_row(request, completion),
            "cost_usd": columns.known_dollars(run, cost),
        }
    if run.experiment.steps:
        yield from _results_of_common_calls(db, run)
    elif run.experiment.augment.batch_size > 1:
        for augmentation in augmented(db, run.id):
            yield {"stage": "augment", **augmentation._asdict()}


def _results_of_common_calls(db: Database, run: Run) -> Iterator[dict[str, Any]]:
    steps = list(rows_per_call(run.experiment))
    for row in step_units(db, run) if steps else ():
        for step in steps:
            for unit in row.units[step]:
                if unit.state in (DONE, FAILED):
                    key = {"split": row.split, "row": row.number, "sample": unit.sample}
                    yield {"stage": step, **key, "text": unit.result.get("value")}
