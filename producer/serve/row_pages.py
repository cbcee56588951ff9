"""The values of the pages that show single rows: the newest results, and the whole history of a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.core.experiment.experiment import Experiment
from models.core.kinds.step import as_text
from models.core.types import JSON
from producer.results.history import history_document
from storage.database import Database
from storage.ledger import runs
from storage.ledger.history import example_histories
from storage.ledger.latest import LatestUnit, Position, latest_units
from storage.schema import FAILED

VERDICTS = ("right", "wrong", "failed")
# Keys of a result that hold what was made, the most telling first.
TEXTS = ("value", "text", "query", "prediction")
LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class ShownUnit:
    """A unit that ended: its row, its text, and its verdict, which is one of VERDICTS or empty."""

    unit: LatestUnit
    row: str
    text: str
    verdict: str


def newest(db: Database, run_id: str, limit: int) -> list[ShownUnit]:
    experiment = runs.load_run(db, run_id).experiment
    return [_shown(experiment, unit) for unit in latest_units(db, run_id, limit=limit)]


def rows_page(
    db: Database, run_id: str, stage: str, verdict: str, before: Position | None, limit: int
) -> tuple[list[ShownUnit], Position | None]:
    """Return units of this stage and verdict, where those are named, newest first, and the position of the
    next page. At most LOOKED_AT units are looked at."""
    experiment = runs.load_run(db, run_id).experiment
    chosen: list[ShownUnit] = []
    for _ in range(0, LOOKED_AT, 4 * limit):
        units = latest_units(db, run_id, stage=stage, before=before, limit=4 * limit)
        for unit in units:
            before = unit.position
            shown = _shown(experiment, unit)
            if not verdict or shown.verdict == verdict:
                chosen.append(shown)
            if len(chosen) == limit:
                return chosen, before
        if len(units) < 4 * limit:
            return chosen, None
    return chosen, before


def read_position(text: str) -> Position | None:
    """Return the position that `written_position` wrote. Raise ValueError."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?_[0-9]{1,15}", text):
        raise ValueError("is no position in a list of rows")
    ended, _, unit_id = text.partition("_")
    return float(ended), int(unit_id)


def written_position(position: Position | None) -> str:
    return f"{position[0]!r}_{position[1]}" if position else ""


def row_history(db: Database, run_id: str, question_id: str) -> JSON | None:
    """Return the document of `starmill show` for the rows with this id, None if there is none."""
    histories = example_histories(db, run_id, question_id)
    return history_document(runs.load_run(db, run_id), histories) if histories else None


def result_parts(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the values of a result by name, as texts; empty ones are left out."""
    for name, value in result.items():
        if text := as_text(value):
            yield name.replace("_", " "), text


def _shown(experiment: Experiment, unit: LatestUnit) -> ShownUnit:
    made = next((value for key in TEXTS if (value := unit.result.get(key)) is not None), None)
    text = as_text(made) if made is not None else (unit.reason or "").replace("_", " ")
    row = unit.request or as_text(next(iter(unit.columns.values()), ""))
    return ShownUnit(unit, row, text, _verdict(experiment, unit))


def _verdict(experiment: Experiment, unit: LatestUnit) -> str:
    if unit.state == FAILED:
        return FAILED
    step = experiment.steps.get(unit.stage)
    star = unit.result.get("correct", unit.result.get("exact_match"))
    right = step.is_right(unit.result) if step else star
    return "" if right is None else VERDICTS[0] if right else VERDICTS[1]
