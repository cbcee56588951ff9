"""The rows that a run made: the teacher's work on each train example, and grown requests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TextIO

from models.core.experiment.experiment import Experiment
from models.core.experiment.options import Fields
from models.core.growth import DROPS, Drop
from models.core.pipeline.rounds import SAMPLES, deciding_round, pass_of, round_of
from models.core.pipeline.stages import WORDINGS
from models.core.retrieval.passage_selection import hits_from_records, shown_hits
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
    """The finished units of one train example.

    `rationales` are in the order of the passes; with several `rounds`, they are those of the round that
    counts. If the first was elected, `samples` are its candidates. The teacher was `shown` documentation.
    """

    augment: ResultRow | None
    retrieve: ResultRow | None
    rationales: tuple[ResultRow, ...]
    samples: tuple[ResultRow, ...] = ()
    shown: tuple[Hit, ...] = ()
    rounds: tuple[tuple[ResultRow, ...], ...] = ()

    @property
    def right(self) -> tuple[ResultRow, ...]:
        """The right rationales; there are several only if the experiment stops later."""
        return tuple(row for row in self.rationales if row.result["correct"])

    @property
    def final(self) -> ResultRow | None:
        """The first right rationale if there is one, else the last."""
        return next(iter(self.right or self.rationales[-1:]), None)

    @property
    def source(self) -> Source | None:
        """The source of the final rationale, if there is one."""
        return rationale_source(self.final) if self.final else None

    def leading_to(self, row: ResultRow) -> tuple[ResultRow, ...]:
        """Return the rationales up to `row` that follow an earlier right one."""
        end = self.rationales.index(row)
        right = (index for index in range(end) if self.rationales[index].result["correct"])
        return self.rationales[max(right, default=-1) + 1 : end + 1]


def rationale_source(rationale: ResultRow) -> Source:
    if not rationale.result["correct"]:
        return "wrong"
    return "star" if rationale.stage == "rationalize" else "first_pass"


def synthetic_examples(
    db: Database, run: Run, example_ids: Sequence[int] | None = None
) -> Iterator[SyntheticExample]:
    """Yield train examples with at least one finished unit, in order, in bounded memory: all, or those of
    `example_ids`, which are a few hundred at most."""
    numbers = range(1, run.experiment.rationale.rounds + 1)
    finished = iter_rows(db, run.id, stages=STAGES, split=TRAIN, examples=example_ids)
    for _, units in groupby(finished, key=lambda row: row.example_id):
        by_stage: dict[str, list[ResultRow]] = {stage: [] for stage in STAGES}
        samples: list[ResultRow] = []
        for unit in units:
            (samples if unit.variant in SAMPLES else by_stage[unit.stage]).append(unit)
        passes = sorted(by_stage["rationale"] + by_stage["rationalize"], key=lambda row: pass_of(row.variant))
        rounds = tuple(tuple(row for row in passes if round_of(row.variant) == number) for number in numbers)
        rationales = deciding_round(rounds, lambda row: bool(row.result["correct"]))
        decided = round_of(rationales[0].variant) if rationales else None
        # Only students are shown the searches of alternatives.
        passages = run.experiment.passages
        retrieve = next((unit for unit in by_stage["retrieve"] if unit.variant in WORDINGS), None)
        hits = hits_from_records(retrieve.result.get("passages", ())) if retrieve else []
        yield SyntheticExample(
            next(iter(by_stage["augment"]), None),
            retrieve,
            tuple(rationales),
            tuple(sample for sample in samples if round_of(sample.variant) == decided),
            tuple(shown_hits(hits, passages) if passages else ()),
            rounds,
        )


@dataclass
class GrowthYield:
    """Pairs that growth made and kept, by round, and dropped, by reason."""

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
    """Judge every candidate of the run in order, and write kept and dropped ones as JSON lines.

    A file appears when it is complete; without a name none is written. Raise UsageError.
    """
    fields = _fields(run.experiment)
    growth = GrowthYield()
    with ExitStack() as stack:
        kept_lines, dropped_lines = _opened(stack, output), _opened(stack, dropped)
        for grown, drop in judge_candidates(db, run):
            growth.pairs[grown.round] += 1
            row = _row(run, grown, fields)
            if drop is None:
                growth.kept[grown.round] += 1
                _write(kept_lines, row)
            else:
                growth.dropped[drop.reason] += 1
                why = {"reason": drop.reason, "other": drop.other or None, "score": drop.score}
                _write(dropped_lines, row | {"dropped": why})
    return growth


def judge_candidates(db: Database, run: Run) -> Iterator[tuple[GrownCandidate, Drop | None]]:
    growth_filter = examples.growth_filter(db, run)
    for grown in examples.candidates(db, run, run.experiment.grow.rounds):
        yield grown, growth_filter.judge(grown.candidate)


def _fields(experiment: Experiment) -> Fields:
    """Return the keys by which the experiment's rows are read; some loaders do not read such rows."""
    if experiment.data:
        return Fields.model_validate(experiment.data.fields.model_dump(exclude_none=True))
    dataset = experiment.dataset
    return dataset.fields if dataset and dataset.loader == "jsonl" else Fields()


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
