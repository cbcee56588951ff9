"""A run's generations as a recording that `teacher.recording` can name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.recording import recorded
from producer.export.shapes import dollars
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.recorded import augmented, generations


def generation_rows(db: Database, run: Run) -> Iterator[dict[str, Any]]:
    """Every answer with the request for it; and where one call augments several requests, what each of them
    was given: when the run is repeated, others may be asked for together."""
    for key, stage, request, completion, cost in generations(db, run.id):
        yield {"key": key, "stage": stage, **recorded(request, completion), "cost_usd": dollars(cost)}
    if run.experiment.augment.batch_size > 1:
        for found in augmented(db, run.id):
            yield {"stage": "augment", **found._asdict()}
