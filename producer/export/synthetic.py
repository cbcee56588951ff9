"""The synthetic set: each train example with its augmentation, documentation and final rationale, or with
each of its right ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from typing import Any

from models.rounds import round_of
from producer.export.shapes import PASSAGE, PROVENANCE, Shape, dollars
from producer.synthetic import SyntheticExample, pass_number, source_of, synthetic_examples
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows

SYNTHETIC: Shape = {
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
    "provenance": PROVENANCE,
}
Json = dict[str, Any]
Make = Callable[[SyntheticExample, Row, Json], Json]


def synthetic_rows(
    db: Database, run: Run, make: Make, *, accepted: bool, without: Container[int] = ()
) -> Iterator[Json]:
    """Train examples that have a rationale, in the order of the train split; one with several right ones
    is a row for each. Rationales of the units `without` are left out."""
    shared = _shared_calls(db, run)
    for example in synthetic_examples(db, run):
        chosen = example.right or (() if accepted else example.tried[-1:])
        for rationale in (row for row in chosen if row.unit_id not in without):
            yield make(example, rationale, _provenance(run, example, rationale, shared))


def as_row(example: SyntheticExample, final: Row, provenance: Json) -> Json:
    """A row of shape SYNTHETIC. `pass` is 0 for the first rationale."""
    augmented = example.augment.result if example.augment else {}
    return {
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
        "source": source_of(final),
        "hint_leak": bool(final.result.get("hint_leak")),
        "round": round_of(final.variant),
        "pass": pass_number(final),
        "provenance": provenance,
    }


def as_chat(example: SyntheticExample, final: Row, provenance: Json) -> Json:
    """A row of shape CHAT, as fine-tuning takes it: the query with its documentation, and the rationale."""
    row = as_row(example, final, provenance)
    documents = [f"{hit.passage.name}{hit.passage.signature}\n{hit.passage.text}" for hit in example.shown]
    asked = "\n\n".join([row["query"], *(["Documentation:", *documents] if documents else [])])
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": row["rationale"]},
    ]
    return {"messages": messages, **{name: row[name] for name in CHAT if name != "messages"}}


def _query(example: SyntheticExample, final: Row) -> str:
    augmented = example.augment.result.get("query") if example.augment else None
    return str(final.result.get("query") or augmented or final.request)


def _provenance(run: Run, example: SyntheticExample, final: Row, shared: Counter[str]) -> Json:
    """`generations` are the calls that the row rests on, in order, the final rationale's last. A vote
    rests on all samples, and is itself the call of the elected one. Another right rationale of an example
    begins where the one before it ended: no call is paid for in two rows."""
    tried = example.led_to(final)
    first = tried[0] is example.tried[0]
    elected = {unit.generation for unit in tried}
    lost = [sample for sample in example.samples if first and sample.generation not in elected]
    units = [unit for unit in (example.augment, *lost, *tried) if unit and unit.generation]
    paid = [unit for unit in units if first or unit is not example.augment]
    cost = sum((unit.cost_nano_usd or 0) / max(1, shared[unit.generation or ""]) for unit in paid)
    return {
        "run": run.id,
        "experiment": run.name,
        "teacher": run.experiment.teacher.model_name,
        "generations": [unit.generation for unit in units],
        "cost_usd": dollars(cost),
    }


def _shared_calls(db: Database, run: Run) -> Counter[str]:
    """How many requests one augmentation call answered: they share its cost."""
    if run.experiment.augment.batch_size == 1:
        return Counter()
    return Counter(unit.generation for unit in rows(db, run.id, stages=("augment",)) if unit.generation)
