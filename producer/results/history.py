"""The history of an example in a run as JSON values, with the verdicts of every rule and its scores."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from models.core.correctness import NORMAL_FORMS, RULES, Correctness, is_correct
from models.core.experiment.passages import BASE
from models.core.metrics.scores import row_stats, scores
from models.core.pipeline.grid import Searches
from models.core.pipeline.stages import VECTOR
from models.core.retrieval.passage_selection import hits_from_records, shown_hits
from models.core.types import JSON
from producer.results.export.columns import known_dollars, prompt_text
from storage.ledger.history import ExampleHistory, RecordedCall, RejectedAnswer, UnitHistory
from storage.ledger.runs import Run
from storage.schema import CONDITION, DONE

DECIMALS = 2


def history_document(run: Run, histories: list[ExampleHistory]) -> JSON:
    """Return examples that share an id, one in each of the `rows`. Times are ISO 8601, in UTC."""
    return {
        "run": run.id,
        "experiment": run.name,
        "question_id": histories[0].question_id,
        "has_id": histories[0].has_id,
        "rule": run.experiment.rationale.correctness,
        "answer_rule": run.experiment.judge.correctness,
        "steps": list(run.experiment.steps),
        "rows": [_row(run, example) for example in histories],
    }


def _row(run: Run, example: ExampleHistory) -> JSON:
    calls = {
        call.key: call
        for unit in example.units
        for call in (unit.call, unit.judged, *(each.call for each in unit.rejected))
        if call
    }
    return {
        "split": example.split,
        "row": example.row,
        "request": example.request,
        "reference": example.reference,
        "oracle": example.oracle,
        "tests": example.tests,
        "columns": example.columns,
        "calls": len(calls),
        "prompt_tokens": sum(call.prompt_tokens for call in calls.values()),
        "completion_tokens": sum(call.completion_tokens for call in calls.values()),
        "cost_usd": known_dollars(run, sum(call.cost_nano_usd for call in calls.values())),
        "units": [_unit(run, example, unit) for unit in example.units],
    }


def _unit(run: Run, example: ExampleHistory, unit: UnitHistory) -> JSON:
    document: JSON = {
        "unit": unit.id,
        "stage": unit.stage,
        "variant": unit.variant,
        "sample": unit.sample,
        "state": unit.state,
        "reason": unit.reason,
        "detail": unit.detail or _condition(run, unit),
        "attempts": unit.attempts,
        "worker": unit.worker,
        "ended": _time(unit.ended),
        "rejected": [_rejected(run, each) for each in unit.rejected],
        "call": _call(run, unit.call) if unit.call else None,
        "judged": _call(run, unit.judged) if unit.judged else None,
    }
    if unit.result:
        document |= _result(run, example, unit)
    return document


def _condition(run: Run, unit: UnitHistory) -> str | None:
    """Return the condition for which a step was skipped."""
    return run.experiment.steps[unit.stage].when if unit.reason == CONDITION else None


def _result(run: Run, example: ExampleHistory, unit: UnitHistory) -> JSON:
    result = unit.result
    if run.experiment.steps:
        return {"result": result} if unit.state == DONE else {}
    if unit.stage == "retrieve":
        return _passages(run, example, unit)
    if unit.stage in {"rationale", "rationalize"}:
        verdicts = _verdicts(run.experiment.rationale.correctness, result["text"], example.reference)
        return {"result": result, "verdicts": verdicts}
    if unit.stage == "judge":
        prediction = result.get("prediction") or ""
        stats = scores([row_stats(prediction, example.reference)])
        verdicts = _verdicts(
            run.experiment.judge.correctness or "strict", _answer(example, unit), example.reference
        )
        rounded = {name: round(value, DECIMALS) for name, value in stats.items()}
        return {"result": result, "verdicts": verdicts, "scores": rounded}
    return {"result": result}


def _verdicts(own: Correctness | Literal["execution"], text: str, reference: str) -> dict[str, bool]:
    """Judge by every rule for code, and by the run's `own` rule if it compares forms. The result itself holds
    the verdict of a module or a model."""
    rules: list[Correctness] = list(RULES)
    if own != "execution" and own in NORMAL_FORMS and own not in rules:
        rules.append(own)
    return {rule: is_correct(rule, text, reference) for rule in rules}


def _answer(example: ExampleHistory, judge: UnitHistory) -> str:
    """Return the student's answer, from which the judge took its prediction."""
    step = ("answer", judge.variant, judge.sample)
    texts = (
        unit.result.get("text") for unit in example.units if (unit.stage, unit.variant, unit.sample) == step
    )
    return next(texts, None) or ""


def _passages(run: Run, example: ExampleHistory, unit: UnitHistory) -> JSON:
    """Return the passages; those that the settings of the search choose are `shown`."""
    if unit.variant == VECTOR:
        return {"result": {"dimensions": len(unit.result.get("vector", ()))}}
    records = unit.result.get("passages", [])
    settings = Searches.read(run.experiment.passages)
    search = unit.variant.partition("/")[2] or BASE
    chosen = {hit.passage.id for hit in shown_hits(hits_from_records(records), settings.choices[search])}
    passages = [
        {**record, "shown": record["id"] in chosen, "oracle": record["id"] in example.oracle}
        for record in records
    ]
    return {"result": {"query": unit.result.get("query"), "passages": passages}}


def _call(run: Run, call: RecordedCall) -> JSON:
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
        "cost_usd": known_dollars(run, call.cost_nano_usd),
        "seconds": call.seconds,
        "at": _time(call.at),
    }


def _rejected(run: Run, answer: RejectedAnswer) -> JSON:
    return {
        "attempt": answer.attempt,
        "reason": answer.reason,
        "detail": answer.detail,
        "at": _time(answer.at),
        "call": _call(run, answer.call) if answer.call else None,
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
