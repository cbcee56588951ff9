"""What the teacher made of a train example: the rows of the synthetic set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from models.retrieval.records import hits_of
from models.retrieval.selection import select
from models.rounds import SAMPLES, counting, pass_of, round_of
from models.stages import WORDINGS
from models.types import Hit
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows
from storage.schema import TRAIN

STAGES = ("augment", "retrieve", "rationale", "rationalize")
Source = Literal["first_pass", "star", "wrong"]


@dataclass(frozen=True, slots=True)
class SyntheticExample:
    """The finished units of one train example; `tried` are its rationales in the order of the passes, those
    of the round that counts where there are several `rounds`. Where the first was voted on, `samples` are
    those that it was chosen from. `shown` is the documentation that the teacher was shown."""

    augment: Row | None
    retrieve: Row | None
    tried: tuple[Row, ...]
    samples: tuple[Row, ...] = ()
    shown: tuple[Hit, ...] = ()
    rounds: tuple[tuple[Row, ...], ...] = ()

    @property
    def right(self) -> tuple[Row, ...]:
        """The rationales that are right; more than one only where the experiment stops later."""
        return tuple(row for row in self.tried if row.result["correct"])

    @property
    def final(self) -> Row | None:
        """The first right rationale if there is one, else the last."""
        return next(iter(self.right or self.tried[-1:]), None)

    @property
    def source(self) -> Source | None:
        """How the final rationale came about; None where there is none."""
        return source_of(self.final) if self.final else None

    def led_to(self, row: Row) -> tuple[Row, ...]:
        """The rationales up to `row`, from the one after the right one before it."""
        end = self.tried.index(row)
        start = max((place + 1 for place in range(end) if self.tried[place].result["correct"]), default=0)
        return self.tried[start : end + 1]


def source_of(rationale: Row) -> Source:
    """How it came about."""
    if not rationale.result["correct"]:
        return "wrong"
    return "star" if rationale.stage == "rationalize" else "first_pass"


def pass_number(row: Row) -> int:
    """0 for the first rationale, then the number of the rationalization pass."""
    return pass_of(row.variant)


def synthetic_examples(db: Database, run: Run) -> Iterator[SyntheticExample]:
    """Train examples with at least one finished unit, in order, in bounded memory."""
    finished = rows(db, run.id, stages=STAGES, split=TRAIN)
    for _, units in groupby(finished, key=lambda row: row.example_id):
        of_stage: dict[str, list[Row]] = {stage: [] for stage in STAGES}
        samples: list[Row] = []
        for unit in units:
            (samples if unit.variant in SAMPLES else of_stage[unit.stage]).append(unit)
        rounds = _rounds(run, of_stage["rationale"] + of_stage["rationalize"])
        tried = counting(rounds, lambda row: bool(row.result["correct"]))
        # The searches of alternatives are for students.
        retrieve = next((unit for unit in of_stage["retrieve"] if unit.variant in WORDINGS), None)
        found = hits_of(retrieve.result.get("passages", ())) if retrieve else []
        yield SyntheticExample(
            next(iter(of_stage["augment"]), None),
            retrieve,
            tuple(tried),
            tuple(sample for sample in samples if tried and _round_of(sample) == _round_of(tried[0])),
            tuple(select(found, run.experiment.passages)),
            rounds,
        )


def _rounds(run: Run, rationales: list[Row]) -> tuple[tuple[Row, ...], ...]:
    """Those of each round, in the order of the passes."""
    ordered = sorted(rationales, key=pass_number)
    numbers = range(1, run.experiment.rationale.rounds + 1)
    return tuple(tuple(row for row in ordered if _round_of(row) == number) for number in numbers)


def _round_of(row: Row) -> int:
    return round_of(row.variant)
