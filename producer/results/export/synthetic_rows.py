"""The exported synthetic set: train examples with augmentation, documentation and rationale, and pairs of a
right and a wrong rationale."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from models.core.pipeline.rounds import SAMPLES, pass_of, round_of
from models.core.types import JSON
from producer.results.export import columns
from producer.results.export.columns import PASSAGE, PROVENANCE, Shape
from producer.results.export.training_texts import (
    MESSAGES,
    Conversation,
    TrainingTexts,
    as_messages,
    query,
)
from producer.results.synthetic_set import SyntheticExample, rationale_source, synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, columns_of, costs, reasonings, request_bodies, shared_calls
from storage.ledger.runs import Run

SYNTHETIC: Shape = {
    "prompt": str,
    "completion": str,
    "question_id": str,
    "row": int,
    "request": str,
    "augmentation": str,
    "query": str,
    "passages": [PASSAGE],
    "rationale": str,
    "answer": str,
    "reference": str,
    "correct": bool,
    "source": str,
    "hint_leak": bool,
    "round": int,
    "pass": int,
    "provenance": PROVENANCE,
}
CHAT: Shape = {
    "messages": MESSAGES,
    **{name: SYNTHETIC[name] for name in ("question_id", "row", "reference", "correct")},
    **{name: SYNTHETIC[name] for name in ("source", "hint_leak", "pass", "provenance")},
}
PAIR: Shape = {
    **dict.fromkeys(("prompt", "chosen", "rejected"), MESSAGES),
    "question_id": str,
    "row": int,
    "reference": str,
    "source": str,
    "rejected_source": str,
    "rejected_unit": str,
    "provenance": PROVENANCE,
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rationale that makes a row, and a wrong one of the same request if the row is a pair."""

    example: SyntheticExample
    rationale: ResultRow
    rejected: ResultRow | None = None


@dataclass(frozen=True, slots=True)
class RowParts:
    """The parts of a row. `rejected` is the conversation that ends in the wrong rationale."""

    chosen: Chosen
    provenance: JSON
    conversation: Conversation
    rejected: Conversation | None = None


def synthetic_rows(
    db: Database,
    run: Run,
    chosen: Iterable[Chosen],
    make: Callable[[RowParts], JSON],
    texts: TrainingTexts,
    *,
    reasoning: bool = False,
) -> Iterator[JSON]:
    """Yield a row for each chosen rationale.

    `reasoning` adds what the teacher thought aloud. Rows of the section `data` also have its columns that
    have another name.
    """
    has_columns = run.experiment.data is not None
    shared = shared_calls(db, run.id, "augment") if run.experiment.augment.batch_size > 1 else {}
    for batch in columns.in_batches(chosen):
        used = [unit for each in batch for unit in (each.rationale, each.rejected) if unit]
        keys = [unit.generation for unit in used if unit.generation]
        requests = request_bodies(db, keys)
        thoughts = reasonings(db, keys) if reasoning else None
        units = (unit for each in batch for unit in (*each.example.samples, *each.example.rationales))
        verdicts = costs(db, [unit.verdict for unit in units if unit.verdict])
        data = columns_of(db, [each.rationale.example_id for each in batch])
        for each in batch:
            body = requests.get(each.rationale.generation or "")
            of_row = data.get(each.rationale.example_id, {})
            talks = [
                texts.conversation(each.example, unit, of_row, body)
                for unit in (each.rationale, each.rejected)
                if unit
            ]
            provenance = _provenance(run, each.example, each.rationale, shared, body, verdicts)
            row = columns.of_run(run, make(RowParts(each, provenance, *talks)))
            whole = columns.with_reasoning(row, thoughts, each.rationale.generation)
            if thoughts is not None and each.rejected:
                whole["rejected_reasoning"] = thoughts.get(each.rejected.generation or "")
            others = of_row if has_columns else {}
            yield whole | {name: value for name, value in others.items() if name not in whole}


def choose_rationales(
    db: Database, run: Run, *, accepted: bool, without: Container[int] = ()
) -> Iterator[Chosen]:
    """Yield the right rationales of train examples in order, or the last one where none is right, unless
    `accepted`. Rationales of the units `without` are left out."""
    for example in synthetic_examples(db, run):
        chosen = example.right or (() if accepted else example.rationales[-1:])
        yield from (Chosen(example, row) for row in chosen if row.unit_id not in without)


def choose_pairs(db: Database, run: Run) -> Iterator[Chosen]:
    """Yield the first right rationale of each train example that also has a wrong one, with the first of
    those: of the first pass, a sample, or a later pass. Those that mention their hint may be right, and are
    passed over."""
    for example in synthetic_examples(db, run):
        sound = (each for each in example.right if not each.result.get("hint_leak"))
        for right in islice(sound, 1):
            tries = chain(*example.rounds, example.samples)
            wrong = (
                each
                for each in tries
                if not each.result["correct"]
                and not each.result.get("hint_leak")
                and each.result["text"] != right.result["text"]
            )
            yield from (Chosen(example, right, each) for each in islice(wrong, 1))


def as_row(parts: RowParts) -> JSON:
    """Return a row of shape SYNTHETIC. `pass` is 0 for the first rationale."""
    example, final = parts.chosen.example, parts.chosen.rationale
    augmented = example.augment.result if example.augment else {}
    return {
        "prompt": parts.conversation.text,
        "completion": parts.conversation.answer,
        "question_id": final.question_id,
        "row": final.number,
        "request": final.request,
        "augmentation": augmented.get("augmentation"),
        "query": query(example, final),
        "passages": [
            {"id": hit.passage.id, "name": hit.passage.name, "score": hit.score} for hit in example.shown
        ],
        "rationale": final.result["text"],
        "answer": final.result.get("answer"),
        "reference": final.reference,
        "correct": bool(final.result["correct"]),
        "source": rationale_source(final),
        "hint_leak": bool(final.result.get("hint_leak")),
        "round": round_of(final.variant),
        "pass": pass_of(final.variant),
        "provenance": parts.provenance,
    }


def as_chat(parts: RowParts) -> JSON:
    """Return a row of shape CHAT for fine-tuning."""
    row = as_row(parts)
    return {"messages": parts.conversation.messages, **{name: row[name] for name in CHAT if name in row}}


def as_pair(parts: RowParts) -> JSON:
    """Return a row of shape PAIR for preference training. Its provenance is that of the right rationale."""
    right, wrong, rejected = parts.chosen.rationale, parts.chosen.rejected, parts.rejected
    assert wrong
    assert rejected
    return {
        "prompt": as_messages(parts.conversation.prompt),
        "chosen": parts.conversation.messages[-1:],
        "rejected": rejected.messages[-1:],
        "question_id": right.question_id,
        "row": right.number,
        "reference": right.reference,
        "source": rationale_source(right),
        "rejected_source": _source_of_wrong(wrong),
        "rejected_unit": columns.unit_name(wrong),
        "provenance": parts.provenance,
    }


def _source_of_wrong(wrong: ResultRow) -> str:
    if wrong.variant in SAMPLES:
        return "sample"
    return "star" if wrong.stage == "rationalize" else "first_pass"


def _provenance(
    run: Run,
    example: SyntheticExample,
    final: ResultRow,
    shared: Mapping[str, int],
    body: JSON | None,
    verdicts: Mapping[str, int],
) -> JSON:
    """Return the origin and the cost of a row.

    `generations` are the calls that the row rests on, in order, each before the verdict of a judge model on
    it; `verdicts` holds the costs of those. A vote rests on all samples; its own call is that of the elected
    one. A later right rationale counts only the calls after the earlier one: no call is paid in two rows.
    """
    rationales = example.leading_to(final)
    first = rationales[0] is example.rationales[0]
    elected = {unit.generation for unit in rationales}
    lost = [sample for sample in example.samples if first and sample.generation not in elected]
    units = [unit for unit in (example.augment, *lost, *rationales) if unit and unit.generation]
    paid = [unit for unit in units if first or unit is not example.augment]
    cost = sum((unit.cost_nano_usd or 0) / shared.get(unit.generation or "", 1) for unit in paid)
    cost += sum(verdicts.get(unit.verdict or "", 0) for unit in units)
    return {
        "run": run.id,
        "experiment": run.name,
        "teacher": final.model or run.experiment.model("teacher").model_name,
        "unit": columns.unit_name(final),
        "generations": [key for unit in units for key in (unit.generation, unit.verdict) if key],
        "prompt_sha256": columns.prompt_sha256(body),
        "passages": [hit.passage.id for hit in example.shown],
        "rule": run.experiment.rationale.correctness,
        "cost_usd": columns.known_dollars(run, cost),
        "starmill": columns.starmill_version(),
    }
