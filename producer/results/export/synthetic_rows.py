"""The exported synthetic set: train examples with augmentation, documentation and rationale."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping

from models.core.pipeline.rounds import pass_of, round_of
from models.core.types import JSON
from producer.results.export import columns
from producer.results.export.columns import PASSAGE, PROVENANCE, Shape
from producer.results.synthetic_set import SyntheticExample, rationale_source, synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, costs, reasonings, request_bodies, shared_calls
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
    "messages": [{"role": str, "content": str}],
    **{name: SYNTHETIC[name] for name in ("question_id", "row", "reference", "correct")},
    **{name: SYNTHETIC[name] for name in ("source", "hint_leak", "pass", "provenance")},
}
Make = Callable[[SyntheticExample, ResultRow, JSON], JSON]


def synthetic_rows(
    db: Database,
    run: Run,
    make: Make,
    *,
    accepted: bool,
    without: Container[int] = (),
    reasoning: bool = False,
) -> Iterator[JSON]:
    """Yield train examples that have a rationale, in order; each right rationale makes a row of its own.

    Rationales of the units `without` are left out. `reasoning` adds what the teacher thought aloud.
    """
    shared = shared_calls(db, run.id, "augment") if run.experiment.augment.batch_size > 1 else {}
    for batch in columns.in_batches(_chosen(db, run, accepted, without)):
        keys = [rationale.generation for _, rationale in batch if rationale.generation]
        requests = request_bodies(db, keys)
        thoughts = reasonings(db, keys) if reasoning else None
        units = (unit for example, _ in batch for unit in (*example.samples, *example.rationales))
        verdicts = costs(db, [unit.verdict for unit in units if unit.verdict])
        for example, rationale in batch:
            body = requests.get(rationale.generation or "")
            row = make(example, rationale, _provenance(run, example, rationale, shared, body, verdicts))
            yield columns.with_reasoning(row, thoughts, rationale.generation)


def _chosen(
    db: Database, run: Run, accepted: bool, without: Container[int]
) -> Iterator[tuple[SyntheticExample, ResultRow]]:
    for example in synthetic_examples(db, run):
        chosen = example.right or (() if accepted else example.rationales[-1:])
        for rationale in (row for row in chosen if row.unit_id not in without):
            yield example, rationale


def as_row(example: SyntheticExample, final: ResultRow, provenance: JSON) -> JSON:
    """Return a row of shape SYNTHETIC. `pass` is 0 for the first rationale."""
    augmented = example.augment.result if example.augment else {}
    return {
        "prompt": f"{_prompt(example, final)}\n\n",
        "completion": final.result["text"],
        "question_id": final.question_id,
        "row": final.number,
        "request": final.request,
        "augmentation": augmented.get("augmentation"),
        "query": _query(example, final),
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
        "provenance": provenance,
    }


def as_chat(example: SyntheticExample, final: ResultRow, provenance: JSON) -> JSON:
    """Return a row of shape CHAT for fine-tuning: the query with its documentation, and the rationale."""
    row = as_row(example, final, provenance)
    messages = [
        {"role": "user", "content": _prompt(example, final)},
        {"role": "assistant", "content": row["rationale"]},
    ]
    return {"messages": messages, **{name: row[name] for name in CHAT if name != "messages"}}


def _prompt(example: SyntheticExample, final: ResultRow) -> str:
    documents = [f"{hit.passage.name}{hit.passage.signature}\n{hit.passage.text}" for hit in example.shown]
    return "\n\n".join([_query(example, final), *(["Documentation:", *documents] if documents else [])])


def _query(example: SyntheticExample, final: ResultRow) -> str:
    augmented = example.augment.result.get("query") if example.augment else None
    return str(final.result.get("query") or augmented or final.request)


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
        "teacher": final.model or run.experiment.teacher.model_name,
        "unit": columns.unit_name(final),
        "generations": [key for unit in units for key in (unit.generation, unit.verdict) if key],
        "prompt_sha256": columns.prompt_sha256(body),
        "passages": [hit.passage.id for hit in example.shown],
        "rule": run.experiment.rationale.correctness,
        "cost_usd": columns.dollars(cost),
        "starmill": columns.starmill_version(),
    }
