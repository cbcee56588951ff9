"""What the teacher made of a train example: the rows of the synthetic set.

What a run has grown, judged and written: rows that load as a train split, and those that were dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TextIO

from models.core.experiment.options import Dataset, Fields
from models.core.growth import DROPS, Drop
from models.core.pipeline.rounds import SAMPLES, deciding_round, pass_of, round_of
from models.core.pipeline.stages import WORDINGS
from models.core.retrieval.passage_selection import hits_from_records, select
from models.core.types import Hit
from producer.files import replacing_file
from storage.database import Database
from storage.ledger import examples
from storage.ledger.examples import GrownCandidate
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TRAIN

STAGES = ("augment", "retrieve", "rationale", "rationalize")
Source = Literal["first_pass", "star", "wrong"]


@dataclass(frozen=True, slots=True)
class SyntheticExample:
    """The finished units of one train example; `tried` are its rationales in the order of the passes, those
    of the round that counts where there are several `rounds`. Where the first was voted on, `samples` are
    those that it was chosen from. `shown` is the documentation that the teacher was shown."""

    augment: ResultRow | None
    retrieve: ResultRow | None
    tried: tuple[ResultRow, ...]
    samples: tuple[ResultRow, ...] = ()
    shown: tuple[Hit, ...] = ()
    rounds: tuple[tuple[ResultRow, ...], ...] = ()

    @property
    def right(self) -> tuple[ResultRow, ...]:
        """The rationales that are right; more than one only where the experiment stops later."""
        return tuple(row for row in self.tried if row.result["correct"])

    @property
    def final(self) -> ResultRow | None:
        """The first right rationale if there is one, else the last."""
        return next(iter(self.right or self.tried[-1:]), None)

    @property
    def source(self) -> Source | None:
        """How the final rationale came about; None where there is none."""
        return rationale_source(self.final) if self.final else None

    def led_to(self, row: ResultRow) -> tuple[ResultRow, ...]:
        """The rationales up to `row`, from the one after the right one before it."""
        end = self.tried.index(row)
        start = max((place + 1 for place in range(end) if self.tried[place].result["correct"]), default=0)
        return self.tried[start : end + 1]


def rationale_source(rationale: ResultRow) -> Source:
    """How it came about."""
    if not rationale.result["correct"]:
        return "wrong"
    return "star" if rationale.stage == "rationalize" else "first_pass"


def pass_number(row: ResultRow) -> int:
    """0 for the first rationale, then the number of the rationalization pass."""
    return pass_of(row.variant)


def synthetic_examples(db: Database, run: Run) -> Iterator[SyntheticExample]:
    """Train examples with at least one finished unit, in order, in bounded memory."""
    finished = iter_rows(db, run.id, stages=STAGES, split=TRAIN)
    for _, units in groupby(finished, key=lambda row: row.example_id):
        of_stage: dict[str, list[ResultRow]] = {stage: [] for stage in STAGES}
        samples: list[ResultRow] = []
        for unit in units:
            (samples if unit.variant in SAMPLES else of_stage[unit.stage]).append(unit)
        rounds = _rounds(run, of_stage["rationale"] + of_stage["rationalize"])
        tried = deciding_round(rounds, lambda row: bool(row.result["correct"]))
        # The searches of alternatives are for students.
        retrieve = next((unit for unit in of_stage["retrieve"] if unit.variant in WORDINGS), None)
        found = hits_from_records(retrieve.result.get("passages", ())) if retrieve else []
        yield SyntheticExample(
            next(iter(of_stage["augment"]), None),
            retrieve,
            tuple(tried),
            tuple(sample for sample in samples if tried and _round_of(sample) == _round_of(tried[0])),
            tuple(select(found, run.experiment.passages)),
            rounds,
        )


def _rounds(run: Run, rationales: list[ResultRow]) -> tuple[tuple[ResultRow, ...], ...]:
    """Those of each round, in the order of the passes."""
    ordered = sorted(rationales, key=pass_number)
    numbers = range(1, run.experiment.rationale.rounds + 1)
    return tuple(tuple(row for row in ordered if _round_of(row) == number) for number in numbers)


def _round_of(row: ResultRow) -> int:
    return round_of(row.variant)


@dataclass
class GrowthYield:
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


def write_grown(db: Database, run: Run, output: Path | None, dropped: Path | None) -> GrowthYield:
    """Judge every candidate of the run in order. Both files are JSON lines, and appear when they are whole;
    without a name none is written. Raises UsageError."""
    fields = _fields(run.experiment.dataset)
    found = GrowthYield()
    with ExitStack() as stack:
        kept_lines, dropped_lines = _opened(stack, output), _opened(stack, dropped)
        for grown, drop in judge_candidates(db, run):
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


def judge_candidates(db: Database, run: Run) -> Iterator[tuple[GrownCandidate, Drop | None]]:
    gate = examples.growth_filter(db, run)
    for grown in examples.candidates(db, run, run.experiment.grow.rounds):
        yield grown, gate.judge(grown.candidate)


def _fields(dataset: Dataset) -> Fields:
    """Names that the loader `jsonl` reads; the other loaders read no such rows."""
    return dataset.fields if dataset.loader == "jsonl" else Fields()


def _row(run: Run, grown: GrownCandidate, fields: Fields) -> dict[str, Any]:
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
