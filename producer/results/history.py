"""An example's life as JSON values, with what every rule and score says of its texts.

The life of one example in one run: what was asked, found, answered, judged and paid.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from models.core.correctness import FORMS, RULES, Correctness, is_correct
from models.core.experiment.passages import BASE
from models.core.metrics.scores import row_stats, scores
from models.core.pipeline.grid import Searches
from models.core.pipeline.stages import VECTOR
from models.core.retrieval.passage_selection import hits_from_records, select
from models.core.types import JSON
from producer.results.export.columns import dollars, prompt_text
from storage.ledger.history import ExampleHistory, RecordedCall, Rejected, UnitHistory
from storage.ledger.runs import Run

DECIMALS = 2


def history_document(run: Run, found: list[ExampleHistory]) -> JSON:
    """`rows` holds an example each: those that share the id. Times are ISO 8601, in UTC."""
    return {
        "run": run.id,
        "experiment": run.name,
        "question_id": found[0].question_id,
        "rule": run.experiment.rationale.correctness,
        "answer_rule": run.experiment.judge.correctness,
        "rows": [_row(run, life) for life in found],
    }


def _row(run: Run, life: ExampleHistory) -> JSON:
    calls = {
        call.key: call
        for unit in life.units
        for call in (unit.call, unit.judged, *(each.call for each in unit.rejected))
        if call
    }
    return {
        "split": life.split,
        "row": life.row,
        "request": life.request,
        "reference": life.reference,
        "oracle": life.oracle,
        "tests": life.tests,
        "calls": len(calls),
        "prompt_tokens": sum(call.prompt_tokens for call in calls.values()),
        "completion_tokens": sum(call.completion_tokens for call in calls.values()),
        "cost_usd": dollars(sum(call.cost_nano_usd for call in calls.values())),
        "units": [_unit(run, life, unit) for unit in life.units],
    }


def _unit(run: Run, life: ExampleHistory, unit: UnitHistory) -> JSON:
    said: JSON = {
        "unit": unit.id,
        "stage": unit.stage,
        "variant": unit.variant,
        "sample": unit.sample,
        "state": unit.state,
        "reason": unit.reason,
        "detail": unit.detail,
        "attempts": unit.attempts,
        "worker": unit.worker,
        "ended": _time(unit.ended),
        "rejected": [_rejected(each) for each in unit.rejected],
        "call": _call(unit.call) if unit.call else None,
        "judged": _call(unit.judged) if unit.judged else None,
    }
    if unit.result:
        said |= _result(run, life, unit)
    return said


def _result(run: Run, life: ExampleHistory, unit: UnitHistory) -> JSON:
    result = unit.result
    if unit.stage == "retrieve":
        return _found(run, life, unit)
    if unit.stage in {"rationale", "rationalize"}:
        verdicts = _verdicts(run.experiment.rationale.correctness, result["text"], life.reference)
        return {"result": result, "verdicts": verdicts}
    if unit.stage == "judge":
        prediction = result.get("prediction") or ""
        stats = scores([row_stats(prediction, life.reference)])
        verdicts = _verdicts(
            run.experiment.judge.correctness or "strict", _answer(life, unit), life.reference
        )
        found = {name: round(value, DECIMALS) for name, value in stats.items()}
        return {"result": result, "verdicts": verdicts, "scores": found}
    return {"result": result}


def _verdicts(own: Correctness | Literal["execution"], text: str, reference: str) -> dict[str, bool]:
    """By every rule for code, and by the run's `own` where that compares forms; what asks a module or a model
    stands in the result."""
    rules: list[Correctness] = list(RULES)
    if own != "execution" and own in FORMS and own not in rules:
        rules.append(own)
    return {rule: is_correct(rule, text, reference) for rule in rules}


def _answer(life: ExampleHistory, judge: UnitHistory) -> str:
    """What the student said, of which the judge took its prediction."""
    step = ("answer", judge.variant, judge.sample)
    texts = (
        unit.result.get("text") for unit in life.units if (unit.stage, unit.variant, unit.sample) == step
    )
    return next(texts, None) or ""


def _found(run: Run, life: ExampleHistory, unit: UnitHistory) -> JSON:
    """`shown` marks what the settings of that search choose; an alternative may choose otherwise."""
    if unit.variant == VECTOR:
        return {"result": {"dimensions": len(unit.result.get("vector", ()))}}
    records = unit.result.get("passages", [])
    settings = Searches.read(run.experiment.passages)
    search = unit.variant.partition("/")[2] or BASE
    chosen = {hit.passage.id for hit in select(hits_from_records(records), settings.choices[search])}
    passages = [
        {**record, "shown": record["id"] in chosen, "oracle": record["id"] in life.oracle}
        for record in records
    ]
    return {"result": {"query": unit.result.get("query"), "passages": passages}}


def _call(call: RecordedCall) -> JSON:
    return {
        "generation": call.key,
        "bought_by": call.run,
        "model": call.model,
        "params": call.request.get("params", {}),
        "draw": call.request.get("draw"),
        "prompt": prompt_text(call.request),
        "text": call.text,
        "refusal": call.refusal,
        "finish_reason": call.finish_reason,
        "prompt_tokens": call.prompt_tokens,
        "cached_tokens": call.cached_tokens,
        "completion_tokens": call.completion_tokens,
        "cost_usd": dollars(call.cost_nano_usd),
        "seconds": call.seconds,
        "at": _time(call.at),
    }


def _rejected(found: Rejected) -> JSON:
    call = _call(found.call) if found.call else None
    return {"attempt": found.attempt, "reason": found.reason, "detail": found.detail, "at": _time(found.at),
            "call": call}  # fmt: skip


def _time(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )
