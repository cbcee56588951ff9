"""The dead-letter table: units that failed, with every answer that was rejected on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from producer.export.shapes import Shape
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import failures, rejected_texts

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
    """Failed units of shape FAILURE. A rejected `text` is null where the provider sent none."""
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
