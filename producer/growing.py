"""What a run has grown, judged and written: rows that load as a train split, and those that were dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from models.dataset import Dataset, Fields
from models.growth.gate import DROPS, Drop
from producer.files import replacing_file
from storage.database import Database
from storage.ledger import growth
from storage.ledger.growth import Grown
from storage.ledger.planning import Run


@dataclass
class Yield:
    """How many pairs came of each round, from the first, and how many were kept; and dropped, by reason."""

    pairs: Counter[int] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs.total(),
            "kept": self.kept.total(),
            "dropped": {reason: self.dropped[reason] for reason in DROPS},
            "rounds": [
                {"round": number, "pairs": self.pairs[number], "kept": self.kept[number]}
                for number in sorted(self.pairs)
            ],
        }


def write_grown(db: Database, run: Run, output: Path | None, dropped: Path | None) -> Yield:
    """Judge every candidate of the run in order. Both files are JSON lines, and appear when they are whole;
    without a name none is written. Raises UsageError."""
    fields = _fields(run.experiment.dataset)
    found = Yield()
    with ExitStack() as stack:
        kept_lines, dropped_lines = _opened(stack, output), _opened(stack, dropped)
        for grown, drop in judged(db, run):
            found.pairs[grown.round] += 1
            row = _row(run, grown, fields)
            if drop is None:
                found.kept[grown.round] += 1
                _write(kept_lines, row)
            else:
                found.dropped[drop.reason] += 1
                why = {"reason": drop.reason, "other": drop.other or None, "score": drop.score}
                _write(dropped_lines, row | {"dropped": why})
    return found


def judged(db: Database, run: Run) -> Iterator[tuple[Grown, Drop | None]]:
    gate = growth.gate(db, run)
    for grown in growth.candidates(db, run, run.experiment.grow.rounds):
        yield grown, gate.judge(grown.candidate)


def _fields(dataset: Dataset) -> Fields:
    """Names that the loader `jsonl` reads; the other loaders read no such rows."""
    return dataset.fields if dataset.loader == "jsonl" else Fields()


def _row(run: Run, grown: Grown, fields: Fields) -> dict[str, Any]:
    candidate = grown.candidate
    return {
        fields.id: candidate.id,
        fields.request: candidate.request,
        fields.reference: candidate.answer,
        "grown": {
            "run": run.id,
            "generation": grown.generation,
            "round": grown.round,
            "row": grown.row,
            "shown": list(candidate.shown),
            "model": grown.model,
        },
    }


def _opened(stack: ExitStack, path: Path | None) -> TextIO | None:
    if path is None:
        return None
    return stack.enter_context(stack.enter_context(replacing_file(path)).open("w", encoding="utf-8"))


def _write(lines: TextIO | None, row: dict[str, Any]) -> None:
    if lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
