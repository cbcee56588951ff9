"""augment: the teacher spells out what a terse request requires (paper, section 3.1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from models.answers import parse_augmentation, parse_augmentations
from models.errors import BadRequest
from models.prompts import example_query
from models.types import Rejection
from storage.ledger import filing
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import Asked, Parked, ask, ask_until_accepted
from worker.context import RunContext
from worker.replaying import as_recorded
from worker.seeds import augmentation_seeds
from worker.steps.requests import chat

SOFT_RETRIES = 2


async def augment(context: RunContext, works: list[Work]) -> list[Outcome]:
    """One call for each request, or one for all (the paper asks for 20 at a time). A request that the
    common reply left out is asked for alone."""
    ended: list[Outcome] = []
    fresh: list[Work] = []
    for key, group in _by_generation(works).items():
        requests = await context.runtime.ledger(filing.asked_together, key) if key else []
        if len(requests) > 1:
            ended += await _together(context, group, requests)
        elif requests:
            ended += await _each(context, group)
        else:
            fresh += group
    if len(fresh) > 1 and context.experiment.augment.batch_size > 1:
        return ended + await _together(context, fresh, [work.example.request for work in fresh])
    return ended + await _each(context, fresh)


def _by_generation(works: list[Work]) -> dict[str, list[Work]]:
    """Units that waited for a common call come back in any company, some without the others; the reply
    is numbered as it was asked for."""
    groups: dict[str, list[Work]] = {}
    for work in works:
        groups.setdefault(work.generation or "", []).append(work)
    return groups


async def _each(context: RunContext, works: list[Work]) -> list[Outcome]:
    """Those that are not parked."""
    ended = await asyncio.gather(*(_alone_or_parked(context, work) for work in works))
    return [outcome for outcome in ended if outcome]


async def _alone_or_parked(context: RunContext, work: Work) -> Outcome | None:
    try:
        return await _alone(context, work)
    except Parked:
        return None
    except BadRequest as error:
        return context.refused(work, error)


async def _alone(context: RunContext, work: Work) -> Outcome:
    config, teacher = context.experiment.augment, context.experiment.teacher
    request = work.example.request
    messages = context.wording.augmentation(request, augmentation_seeds(config))
    asked = await ask_until_accepted(
        context,
        work,
        teacher,
        lambda attempt: chat(teacher, messages, {**teacher.params, **config.params}, (0, attempt)),
        lambda completion: parse_augmentation(completion, request),
        SOFT_RETRIES,
    )
    return _outcome(context, asked)


async def _together(context: RunContext, works: list[Work], requests: list[str]) -> list[Outcome]:
    """`requests` are those of the common call; the units may be only some of those that it is for."""
    config, teacher = context.experiment.augment, context.experiment.teacher
    messages = context.wording.augmentations(requests, augmentation_seeds(config))
    params = {**teacher.params, **config.params}
    if "max_tokens" in params:
        params["max_tokens"] *= len(requests)
    try:
        request = await as_recorded(context, teacher, chat(teacher, messages, params, (0, 0)))
        completion, purchase = await ask(context, works[0], teacher, request, works)
    except Parked:
        return []
    except BadRequest:
        # One request may be why all were refused.
        return await _each(context, works)
    parsed = dict(zip(requests, parse_augmentations(completion, requests), strict=True))
    ended: list[Outcome] = []
    again: list[Work] = []
    for work in works:
        value = parsed[work.example.request]
        if isinstance(value, Rejection):
            await context.runtime.reject(work, value, request.key, purchase)
            again.append(replace(work, rejections=work.rejections + 1))
        else:
            ended.append(_outcome(context, Asked(work, value, completion, request.key, purchase)))
    return ended + await _each(context, again)


def _outcome(context: RunContext, asked: Asked[str]) -> Outcome:
    if isinstance(asked.value, Rejection):
        return context.failed(asked.work, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "augmentation": asked.value,
        "query": example_query(asked.work.example.request, asked.value),
    }
    return context.done(asked.work, result, generation=asked.generation, purchase=asked.purchase)
