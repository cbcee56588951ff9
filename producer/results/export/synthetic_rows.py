"""The synthetic set: each train example with its augmentation, documentation and final rationale, or with
each of its right ones."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from models.core.pipeline.rounds import round_of
from models.core.types import JSON
from producer.results.export.columns import (
    PASSAGE,
    PROVENANCE,
    Shape,
    dollars,
    in_batches,
    prompt_sha256,
    starmill_version,
    unit_name,
)
from producer.results.synthetic_set import SyntheticExample, pass_number, rationale_source, synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, costs, request_bodies, shared_calls
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
    "question_id": str,
    "row": int,
    "reference": str,
    "correct": bool,
    "source": str,
    "hint_leak": bool,
    "pass": int,
    "provenance": PROVENANCE,
}
Json = dict[str, Any]
Make = Callable[[SyntheticExample, ResultRow, Json], Json]


def synthetic_rows(
    db: Database, run: Run, make: Make, *, accepted: bool, without: Container[int] = ()
) -> Iterator[Json]:
    """Train examples that have a rationale, in the order of the train split; one with several right ones
    is a row for each. Rationales of the units `without` are left out."""
    shared = shared_calls(db, run.id, "augment") if run.experiment.augment.batch_size > 1 else {}
    for batch in in_batches(_chosen(db, run, accepted, without)):
        asked = request_bodies(db, [rationale.generation for _, rationale in batch if rationale.generation])
        verdicts = costs(db, [unit.verdict for example, _ in batch
                              for unit in (*example.samples, *example.tried) if unit.verdict])  # fmt: skip
        for example, rationale in batch:
            body = asked.get(rationale.generation or "")
            yield make(example, rationale, _provenance(run, example, rationale, shared, body, verdicts))


def _chosen(
    db: Database, run: Run, accepted: bool, without: Container[int]
) -> Iterator[tuple[SyntheticExample, ResultRow]]:
    for example in synthetic_examples(db, run):
        chosen = example.right or (() if accepted else example.tried[-1:])
        for rationale in (row for row in chosen if row.unit_id not in without):
            yield example, rationale


def as_row(example: SyntheticExample, final: ResultRow, provenance: Json) -> Json:
    """A row of shape SYNTHETIC. `pass` is 0 for the first rationale."""
    augmented = example.augment.result if example.augment else {}
    return {
        "prompt": f"{_asked(example, final)}\n\n",
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
        "pass": pass_number(final),
        "provenance": provenance,
    }


def as_chat(example: SyntheticExample, final: ResultRow, provenance: Json) -> Json:
    """A row of shape CHAT, as fine-tuning takes it: the query with its documentation, and the rationale."""
    row = as_row(example, final, provenance)
    messages = [
        {"role": "user", "content": _asked(example, final)},
        {"role": "assistant", "content": row["rationale"]},
    ]
    return {"messages": messages, **{name: row[name] for name in CHAT if name != "messages"}}


def _asked(example: SyntheticExample, final: ResultRow) -> str:
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
) -> Json:
    """`generations` are the calls that the row rests on, in order, the final rationale's last, each
    before the verdict of a judge model on it, whose cost `verdicts` knows. A vote rests on all samples, and
    is itself the call of the elected one. Another right rationale of an example begins where the one before
    it ended: no call is paid for in two rows."""
    tried = example.led_to(final)
    first = tried[0] is example.tried[0]
    elected = {unit.generation for unit in tried}
    lost = [sample for sample in example.samples if first and sample.generation not in elected]
    units = [unit for unit in (example.augment, *lost, *tried) if unit and unit.generation]
    paid = [unit for unit in units if first or unit is not example.augment]
    cost = sum((unit.cost_nano_usd or 0) / shared.get(unit.generation or "", 1) for unit in paid)
    cost += sum(verdicts.get(unit.verdict or "", 0) for unit in units)
    return {
        "run": run.id,
        "experiment": run.name,
        "teacher": final.model or run.experiment.teacher.model_name,
        "unit": unit_name(final),
        "generations": [key for unit in units for key in (unit.generation, unit.verdict) if key],
        "prompt_sha256": prompt_sha256(body),
        "passages": [hit.passage.id for hit in example.shown],
        "rule": run.experiment.rationale.correctness,
        "cost_usd": dollars(cost),
        "starmill": starmill_version(),
    }
