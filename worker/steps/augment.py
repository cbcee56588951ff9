"""The stage augment: the teacher spells out what a terse request requires (paper, section 3.1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from models.core.answers.parsers import parse_augmentation, parse_augmentations
from models.core.errors import BadRequest
from models.core.prompts.rendering import augmented_request
from models.core.types import Rejection
from storage.ledger import batch_enqueue
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.few_shot import augmentation_seeds
from worker.model_calls import AwaitingBatch, CheckedAnswer, ask_cached, ask_until_accepted
from worker.requests import as_recorded, chat, chat_attempts
from worker.run_context import RunContext

SOFT_RETRIES = 2


async def augment(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Make one call for each request, or one for all (the paper asks for 20 at a time). A request that the
    common reply leaves out gets a call of its own."""
    outcomes: list[UnitOutcome] = []
    fresh: list[ClaimedUnit] = []
    for key, group in _by_generation(units).items():
        requests = await context.ledger(batch_enqueue.requests_of_call, key) if key else []
        if len(requests) > 1:
            outcomes += await _together(context, group, requests)
        elif requests:
            outcomes += await _each(context, group)
        else:
            fresh += group
    if len(fresh) > 1 and context.experiment.augment.batch_size > 1:
        return outcomes + await _together(context, fresh, [unit.example.request for unit in fresh])
    return outcomes + await _each(context, fresh)


def _by_generation(units: list[ClaimedUnit]) -> dict[str, list[ClaimedUnit]]:
    """Group units by the call that they waited for. They come back in any combination, perhaps not all of a
    call; its reply is numbered by the requests of the call."""
    groups: dict[str, list[ClaimedUnit]] = {}
    for unit in units:
        groups.setdefault(unit.generation or "", []).append(unit)
    return groups


async def _each(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Leave out units that wait for a batch."""
    outcomes = await asyncio.gather(*(_alone_or_waiting(context, unit) for unit in units))
    return [outcome for outcome in outcomes if outcome]


async def _alone_or_waiting(context: RunContext, unit: ClaimedUnit) -> UnitOutcome | None:
    try:
        return await _alone(context, unit)
    except AwaitingBatch:
        return None
    except BadRequest as error:
        return context.refused(unit, error)


async def _alone(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    config, teacher = context.experiment.augment, context.experiment.model("teacher")
    request = unit.example.request
    messages = context.wording.augmentation(request, augmentation_seeds(config))
    render = chat_attempts(teacher, messages, config.params, 0)
    parse = partial(parse_augmentation, request=request, any_text=config.accept == "any")
    checked = await ask_until_accepted(context, unit, teacher, render, parse, SOFT_RETRIES)
    return _outcome(context, checked)


async def _together(context: RunContext, units: list[ClaimedUnit], requests: list[str]) -> list[UnitOutcome]:
    """`requests` are those of the common call; `units` may be only some of its units."""
    config, teacher = context.experiment.augment, context.experiment.model("teacher")
    messages = context.wording.augmentations(requests, augmentation_seeds(config))
    params = {**teacher.params, **config.params}
    # The teacher's limit is that of one answer, that of `augment` one of the call.
    if "max_tokens" in params and "max_tokens" not in config.params:
        params["max_tokens"] *= len(requests)
    try:
        request = await as_recorded(context, teacher, chat(teacher, messages, params, (0, 0)))
        completion, purchase = await ask_cached(context, units[0], teacher, request, units)
    except AwaitingBatch:
        return []
    except BadRequest:
        # One bad request may have made the server refuse all.
        return await _each(context, units)
    items = parse_augmentations(completion, requests, any_text=config.accept == "any")
    parsed = dict(zip(requests, items, strict=True))
    outcomes: list[UnitOutcome] = []
    again: list[ClaimedUnit] = []
    for unit in units:
        value = parsed[unit.example.request]
        if isinstance(value, Rejection):
            await context.ledger.reject(unit, value, request.key, purchase)
            again.append(replace(unit, rejections=unit.rejections + 1))
        else:
            outcomes.append(_outcome(context, CheckedAnswer(unit, value, completion, request.key, purchase)))
    return outcomes + await _each(context, again)


def _outcome(context: RunContext, checked: CheckedAnswer[str]) -> UnitOutcome:
    if isinstance(checked.value, Rejection):
        return context.rejected(checked.unit, checked.value, checked.generation, checked.purchase)
    query = augmented_request(checked.unit.example.request, checked.value)
    result = {"augmentation": checked.value, "query": query}
    return context.done(checked.unit, result, generation=checked.generation, purchase=checked.purchase)
