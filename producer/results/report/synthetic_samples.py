"""Single rows that the run made: accepted ones, those that a hint repaired, and rejected ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from models.core.kinds.step import as_text
from models.core.pipeline.rounds import pass_of
from producer.results.report.samples import cut_middle, evenly_spaced
from producer.results.step_verdicts import is_accepted
from producer.results.synthetic_set import SyntheticExample, synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, example_ids
from storage.ledger.runs import Run
from storage.ledger.step_units import StepRow, step_units
from storage.schema import TRAIN

OUTCOMES = {"accepted": "Accepted", "repaired": "Repaired by a hint", "rejected": "Rejected"}
_OUTCOME_OF_SOURCE = {"first_pass": "accepted", "star": "repaired", "wrong": "rejected"}
# Rows that are looked at, and those of one outcome that are kept.
LOOKED_AT, MAX_OF_OUTCOME = 200, 10


@dataclass(frozen=True, slots=True)
class SyntheticSample:
    """A row with its texts by title, in the order in which they were made. `outcome` is a key of OUTCOMES."""

    outcome: str
    question_id: str
    summary: str
    texts: tuple[tuple[str, str], ...]


def read_synthetic_samples(db: Database, run: Run) -> tuple[SyntheticSample, ...]:
    """Read rows that are finished, chosen evenly: at most MAX_OF_OUTCOME of each outcome, in their order."""
    ids = example_ids(db, run.id, TRAIN)
    chosen = [ids[index] for index in evenly_spaced(len(ids), LOOKED_AT)]
    read = _of_steps if run.experiment.steps else _of_star
    counts: Counter[str] = Counter()
    kept = []
    for sample in read(db, run, chosen):
        counts[sample.outcome] += 1
        if counts[sample.outcome] <= MAX_OF_OUTCOME:
            kept.append(sample)
    return tuple(kept)


def _of_star(db: Database, run: Run, chosen: list[int]) -> Iterator[SyntheticSample]:
    for example in synthetic_examples(db, run, chosen):
        if (last := example.final) and (source := example.source):
            yield SyntheticSample(
                _OUTCOME_OF_SOURCE[source], last.question_id, cut_middle(last.request), tuple(_texts(example))
            )


def _texts(example: SyntheticExample) -> Iterator[tuple[str, str]]:
    if example.augment and (query := example.augment.result.get("query")):
        yield "Enhanced request", cut_middle(query)
    if example.shown:
        yield "Documentation", ", ".join(hit.passage.name for hit in example.shown)
    for rationale in example.rationales:
        yield _title(rationale), cut_middle(rationale.result["text"])
    yield "Reference", cut_middle(example.rationales[-1].reference)


def _title(rationale: ResultRow) -> str:
    number = pass_of(rationale.variant)
    name = f"Pass {number} with the hint" if number else "First pass"
    return f"{name}: {'right' if rationale.result['correct'] else 'wrong'}"


def _of_steps(db: Database, run: Run, chosen: list[int]) -> Iterator[SyntheticSample]:
    for row in step_units(db, run, chosen):
        if row.is_final:
            outcome = "accepted" if is_accepted(run.experiment, row) else "rejected"
            texts = tuple(_columns(run, row))
            yield SyntheticSample(outcome, row.question_id, texts[0][1] if texts else "", texts)


def _columns(run: Run, row: StepRow) -> Iterator[tuple[str, str]]:
    for name, value in row.columns.items():
        yield name, cut_middle(as_text(value))
    for name in run.experiment.steps:
        units = row.units[name]
        for unit in units:
            number = f" {unit.sample}" if len(units) > 1 else ""
            if text := as_text(unit.result.get("value")) or unit.reason or "":
                yield f"+{name}{number}", cut_middle(text)
