"""Steps in a worker: the columns of their rows, the services that they are given, and the ends of units."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from models.core.errors import AccessError, BadRequest, NotRecorded
from models.core.experiment.endpoints import Model
from models.core.kinds.step import Call, Reply, Row, SampledValues, StepResult, StepSettings
from models.core.prompts.column_values import ExpressionError, column_value
from models.core.prompts.expressions import ROW, condition
from models.core.retrieval.passage_selection import search_depth
from models.core.types import Hit, Query, Rejection, Request
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.few_shot import identity_of
from worker.judging import meets_tests
from worker.model_calls import CheckedAnswer, ask_cached, ask_until_accepted
from worker.requests import as_recorded, chat
from worker.run_context import RunContext

T = TypeVar("T")
LIMITS = {"max_tokens", "max_completion_tokens"}
SCHEMA_WORDS = ("response_format", "json_schema", "guided")


async def execute_step(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Do the work of units of one step. Units that wait for a batch have no outcome yet."""
    name = units[0].stage
    step = context.experiment.steps[name]
    outcomes: list[UnitOutcome] = []
    rows: list[Row] = []
    for unit in units:
        row = await _row(context, step, unit)
        try:
            wanted = not step.when or condition(step.when).holds(row.columns)
        except ExpressionError as error:
            outcomes.append(context.failed(unit, "condition", f"when: {error}"))
            continue
        if wanted:
            rows.append(row)
        else:
            outcomes.append(context.skipped(unit))
    if rows:
        results = await step.execute(StepServices(context, name), rows)
        outcomes += [_outcome(context, result) for result in results]
    return outcomes


async def _row(context: RunContext, step: StepSettings, unit: ClaimedUnit) -> Row:
    """Return the unit's row with the columns of its data and of the steps that the step reads."""
    columns: dict[str, Any] = {**unit.example.columns}
    for name in context.read_steps[unit.stage]:
        count = context.sample_counts[name]
        if step.gathers and count > 1:
            columns[name] = SampledValues(_value(unit, name, sample) for sample in range(count))
        else:
            columns[name] = _value(unit, name, min(unit.sample, count - 1))
    columns[ROW] = dict(columns)
    example = unit.example
    identity = await identity_of(context, unit) if step.draws_by_row else ""
    return Row(unit, columns, unit.sample, identity, example.reference, example.tests)


def _value(unit: ClaimedUnit, step: str, sample: int) -> Any:
    return column_value(unit.inputs.get((step, "", sample)))


def _outcome(context: RunContext, result: StepResult) -> UnitOutcome:
    unit: ClaimedUnit = result.row.unit
    checked = result.reply.call if result.reply else None
    if isinstance(checked, UnitOutcome):
        return checked
    if not isinstance(checked, CheckedAnswer):
        if result.failure:
            return context.failed(unit, *result.failure)
        return context.done(unit, result.stored())
    if isinstance(checked.value, Rejection):
        return context.rejected(checked.unit, checked.value, checked.generation, checked.purchase)
    if result.failure:
        return context.failed(
            checked.unit, *result.failure, generation=checked.generation, purchase=checked.purchase
        )
    return context.done(
        checked.unit, result.stored(), generation=checked.generation, purchase=checked.purchase
    )


def _params(model: Model, call: Call[Any]) -> dict[str, Any]:
    """Return the parameters of a call. A token limit of the step replaces those of the model."""
    replaced = LIMITS if LIMITS & call.params.keys() else set()
    return {name: value for name, value in model.params.items() if name not in replaced} | dict(call.params)


def _refuses_schema(error: AccessError | BadRequest) -> bool:
    """Tell if the same call may succeed without a schema; a recording may be of a server that refused it."""
    return isinstance(error, NotRecorded) or any(word in str(error) for word in SCHEMA_WORDS)


class StepServices:
    """The services of one step in a worker; see `models.core.kinds.step.Services`."""

    def __init__(self, context: RunContext, step: str) -> None:
        self._context = context
        self._step = step

    async def ask(self, row: Row, call: Call[T]) -> Reply[T]:
        tried = self._context.schema_tried
        if call.schema is not None and call.model not in tried:
            async with self._context.first_schema[call.model]:
                if call.model not in tried:
                    reply = await self._ask(row, call)
                    tried.add(call.model)
                    return reply
        return await self._ask(row, call)

    async def _ask(self, row: Row, call: Call[T]) -> Reply[T]:
        model = self._context.experiment.model(call.model)
        render = partial(self._request, model, call, row.sample)
        ask = partial(ask_until_accepted, self._context, row.unit, model, render, call.parse)
        try:
            checked = await ask(budgets=call.budgets)
        except (AccessError, BadRequest) as error:
            # Older servers know no schema; what they answer is checked all the same.
            if call.schema is None or not _refuses_schema(error):
                raise
            self._context.takes_no_schema.add(call.model)
            try:
                checked = await ask(budgets=call.budgets)
            except NotRecorded:
                self._context.takes_no_schema.discard(call.model)
                raise
        return Reply(checked.value, checked.completion.text or "", checked)

    async def ask_together(
        self, rows: Sequence[Row], call: Call[list[T | Rejection]], alone: Callable[[Row], Call[T]]
    ) -> list[tuple[Row, Reply[T]]]:
        model = self._context.experiment.model(call.model)
        units: list[ClaimedUnit] = [row.unit for row in rows]
        params = _params(model, call)
        limits = {name: limit for name, limit in params.items() if name in LIMITS and isinstance(limit, int)}
        longer = {name: limit * len(rows) for name, limit in limits.items()}
        common = replace(call, params=params | longer)
        try:
            request = await as_recorded(self._context, model, self._request(model, common, 0, 0))
            completion, purchase = await ask_cached(self._context, units[0], model, request, units)
        except BadRequest:
            # One bad row may have made the server refuse all.
            return await self._each(rows, alone)
        values = call.parse(completion)
        items = values if isinstance(values, list) else [values] * len(rows)
        replies: list[tuple[Row, Reply[T]]] = []
        again: list[Row] = []
        for row, value in zip(rows, items, strict=True):
            unit: ClaimedUnit = row.unit
            if not isinstance(value, Rejection):
                checked = CheckedAnswer(unit, value, completion, request.key, purchase)
                replies.append((row, Reply(value, completion.text or "", checked)))
                continue
            # A unit that was interrupted after this has counted it.
            if unit.rejections == unit.budget_from:
                await self._context.ledger.reject(unit, value, request.key, purchase)
                unit = replace(unit, rejections=unit.rejections + 1)
            again.append(replace(row, unit=unit))
        return replies + await self._each(again, alone)

    async def _each(self, rows: Sequence[Row], alone: Callable[[Row], Call[T]]) -> list[tuple[Row, Reply[T]]]:
        replies = await asyncio.gather(*(self._alone(row, alone(row)) for row in rows))
        return list(zip(rows, replies, strict=True))

    async def _alone(self, row: Row, call: Call[T]) -> Reply[T]:
        try:
            return await self.ask(row, call)
        except BadRequest as error:
            rejection = Rejection(error.reason, str(error))
            return Reply(rejection, "", self._context.refused(row.unit, error))

    def _request(self, model: Model, call: Call[Any], sample: int, attempt: int) -> Request:
        params = _params(model, call)
        takes = not model.runs_in_worker and call.model not in self._context.takes_no_schema
        if call.schema is not None and takes and "response_format" not in params:
            named = {"name": self._step, "schema": call.schema}
            params["response_format"] = {"type": "json_schema", "json_schema": named}
        return chat(model, call.messages, params, (sample, attempt))

    async def search(self, queries: Sequence[str]) -> list[list[Hit]]:
        passages = self._context.experiment.passages
        assert passages
        asked = [Query(query) for query in queries]
        depth = search_depth(passages)
        answers = await self._context.clients.retrieve(
            self._context.experiment, lambda retriever: retriever.search(asked, depth, passages)
        )
        return [list(hits) for hits in answers]

    async def passes_tests(self, row: Row, answer: str) -> tuple[bool, str]:
        assert row.tests
        verdict = await meets_tests(self._context, answer, row.tests)
        return verdict.outcome == "passed", verdict.outcome

    async def decide(self, answer: str, reference: str) -> bool:
        return bool(await self._context.call_module("correct", answer, reference))

    async def call_python(self, source: str, function: str, arguments: list[Any], seconds: float) -> Any:
        task = self._context.experiment.task
        module = source or (task.module if task else "")
        return await self._context.clients.call_python(module, function, arguments, seconds)
