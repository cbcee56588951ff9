"""Exemplars that students are shown, and the earlier rationales of an example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.sql.elements import ColumnElement

from models.core.experiment.axes import RationaleSource
from models.core.pipeline import rounds
from models.core.pipeline.stages import VECTOR, WORDINGS
from models.core.words import named_question, question_group
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.ledger.runs import Run
from storage.schema import DONE, EXAMPLES, RUNS, TEST, TRAIN, UNITS

REASONED = ("rationale", "rationalize")
PAGE = 1000


@dataclass(frozen=True, slots=True)
class ReasonedExample:
    """A train example with what the teacher made of it; `rationale` is empty for source `none`."""

    row: int
    request: str
    query: str
    reference: str
    rationale: str
    passages: Sequence[dict[str, Any]]
    columns: dict[str, Any]


def exemplar_pool(db: Database, run: Run) -> list[int]:
    """Return the train examples whose documentation is known, in order; the same ones for every cell.
    Without documentation they are those with an augmentation, without augmentations all."""
    if run.experiment.passages:
        query = _train(run.id, UNITS.c.stage == "retrieve", UNITS.c.variant.in_(WORDINGS))
        query = query.order_by(UNITS.c.example_id)
    elif run.experiment.augment.enabled:
        query = _train(run.id, UNITS.c.stage == "augment").order_by(UNITS.c.example_id)
    else:
        of_dataset = (EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == TRAIN)
        query = select(EXAMPLES.c.id).where(*of_dataset).order_by(EXAMPLES.c.id)
    with db.read() as connection:
        return list(connection.scalars(query))


def eligible_examples(
    db: Database, run: Run, source: RationaleSource, *, wrong: bool = False
) -> frozenset[int]:
    """Return the members of the pool with a rationale of this source, right, or also `wrong`."""
    if source == "none":
        return frozenset(exemplar_pool(db, run))
    right = UNITS.c.result["correct"].as_boolean()
    wanted: list[ColumnElement[bool]] = [UNITS.c.stage.in_(REASONED), UNITS.c.variant.not_in(rounds.SAMPLES)]
    if source == "first_pass":
        wanted.append(UNITS.c.variant == rounds.in_round(1))
    if not wrong:
        wanted.append(right.is_(True))
    with db.read() as connection:
        return frozenset(connection.scalars(_train(run.id, *wanted)))


def asked_in_test(db: Database, run_id: str) -> dict[str, frozenset[int]]:
    """Return the train examples of each question that the test split asks too; mostly there are none."""
    of_run = select(RUNS.c.dataset).where(RUNS.c.id == run_id).scalar_subquery()
    columns = (EXAMPLES.c.id, EXAMPLES.c.question_id, EXAMPLES.c.row)
    test, train = (select(*columns).where(EXAMPLES.c.dataset == of_run, EXAMPLES.c.split == split)
                   for split in (TEST, TRAIN))  # fmt: skip
    by_question: defaultdict[str, set[int]] = defaultdict(set)
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(test)
        asked = {named_question(name, row) for _, name, row in rows} - {""}
        for example, name, _ in connection.execution_options(yield_per=PAGE).execute(train):
            if (question := question_group(name)) in asked:
                by_question[question].add(example)
    return {question: frozenset(examples) for question, examples in by_question.items()}


def request_vectors(db: Database, run_id: str) -> list[tuple[int, str]]:
    """Return (example, packed vector of its request) of the train examples, in order."""
    query = (
        select(UNITS.c.example_id, UNITS.c.result["vector"].as_string())
        .where(
            UNITS.c.run_id == run_id,
            UNITS.c.split == TRAIN,
            UNITS.c.state == DONE,
            UNITS.c.stage == "retrieve",
            UNITS.c.variant == VECTOR,
        )
        .order_by(UNITS.c.example_id)
    )
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(query)
        return [(example, vector) for example, vector in rows]


def load_exemplars(
    db: Database,
    run_id: str,
    example_ids: Sequence[int],
    source: RationaleSource,
    retrieval: str = "",
    of_round: int | None = None,
) -> list[ReasonedExample]:
    """Return the examples in the order of `example_ids`.

    `retrieval` is the variant of the unit that retrieved their passages; without it, or if it failed, they
    have none. Rationales are those of `of_round`, or of the round that counts.
    """
    results: dict[int, dict[tuple[str, str], dict[str, Any]]] = {}
    with db.read() as connection:
        examples = {
            row.id: row for row in connection.execute(select(EXAMPLES).where(EXAMPLES.c.id.in_(example_ids)))
        }
        # Without the split, which would lead SQLite to every train unit that is done.
        units = select(UNITS.c.example_id, UNITS.c.stage, UNITS.c.variant, UNITS.c.result).where(
            UNITS.c.run_id == run_id,
            UNITS.c.example_id.in_(example_ids),
            UNITS.c.state == DONE,
            UNITS.c.variant.not_in(rounds.SAMPLES),
        )
        for example_id, stage, variant, result in connection.execute(units):
            results.setdefault(example_id, {})[stage, variant] = result
    return [
        _exemplar(examples[example_id], results.get(example_id, {}), source, retrieval, of_round)
        for example_id in example_ids
    ]


def final_rationale(
    results: dict[tuple[str, str], dict[str, Any]], of_round: int | None = None
) -> dict[str, Any] | None:
    """Return the right rationale if there is one, else the last: it is kept although it is wrong."""
    by_round: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    variants = [variant for stage, variant in results if stage in REASONED]
    for variant in sorted(variants, key=rounds.pass_of):
        stage = "rationalize" if rounds.pass_of(variant) else "rationale"
        by_round[rounds.round_of(variant)].append(results[stage, variant])
    asked = [of_round] if of_round else sorted(by_round)
    tried = rounds.deciding_round([by_round[number] for number in asked], _is_right)
    return next(filter(_is_right, tried), tried[-1] if tried else None)


def accepted_examples(db: Database, run_id: str, of_round: int) -> list[tuple[int, str]]:
    """Return (example, question) of the train examples with a right rationale in a round, in order.

    The question is empty if the dataset names none.
    """
    query = (
        select(UNITS.c.example_id, EXAMPLES.c.question_id, EXAMPLES.c.row)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(
            UNITS.c.run_id == run_id,
            UNITS.c.split == TRAIN,
            UNITS.c.state == DONE,
            UNITS.c.stage.in_(REASONED),
            UNITS.c.variant.in_(rounds.rationale_names(of_round)),
            UNITS.c.result["correct"].as_boolean().is_(True),
        )
        .distinct()
        .order_by(UNITS.c.example_id)
    )
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(query)
        return [(example, named_question(name, row)) for example, name, row in rows]


def _is_right(result: dict[str, Any]) -> bool:
    return bool(result["correct"])


def _exemplar(
    example: Any,
    results: dict[tuple[str, str], dict[str, Any]],
    source: RationaleSource,
    retrieval: str,
    of_round: int | None,
) -> ReasonedExample:
    first = results.get(("rationale", rounds.in_round(1)))
    chosen = first if source == "first_pass" else final_rationale(results, of_round)
    rationale = chosen["text"] if chosen and source != "none" else ""
    retrieved = results.get(("retrieve", retrieval), {})
    augmented = results.get(("augment", ""), {})
    return ReasonedExample(
        example.row,
        example.request,
        augmented.get("query", example.request),
        example.reference,
        rationale,
        retrieved.get("passages", ()),
        example.columns or {},
    )


def _train(run_id: str, *conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return (
        select(UNITS.c.example_id)
        .where(UNITS.c.run_id == run_id, UNITS.c.split == TRAIN, UNITS.c.state == DONE, *conditions)
        .distinct()
    )


@dataclass(frozen=True, slots=True)
class RationaleSample:
    """The result of a sample's unit, and the key of its call."""

    result: dict[str, Any]
    generation: str | None


def answered_samples(db: Database, vote: ClaimedUnit) -> list[RationaleSample]:
    """Return the samples of the vote's example that did not fail, in the order of drawing."""
    query = (
        select(UNITS.c.result, UNITS.c.generation)
        .where(
            UNITS.c.run_id == vote.run_id,
            UNITS.c.example_id == vote.example_id,
            UNITS.c.stage == vote.stage,
            UNITS.c.variant == rounds.in_round(rounds.round_of(vote.variant), rounds.SAMPLE),
            UNITS.c.state == DONE,
        )
        .order_by(UNITS.c.sample)
    )
    with db.read() as connection:
        return [RationaleSample(row.result, row.generation) for row in connection.execute(query)]


def count_right_before(db: Database, unit: ClaimedUnit) -> int:
    """Count the right rationales of earlier passes of the round: the vote counts, its samples do not."""
    query = (
        select(func.count())
        .select_from(UNITS)
        .where(
            UNITS.c.run_id == unit.run_id,
            UNITS.c.example_id == unit.example_id,
            UNITS.c.stage.in_(REASONED),
            UNITS.c.variant.in_(rounds.rationale_names(rounds.round_of(unit.variant))),
            UNITS.c.state == DONE,
            UNITS.c.id < unit.unit_id,
            UNITS.c.result["correct"].as_boolean().is_(True),
        )
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())
