"""augment: the teacher spells out what a terse request requires (paper, section 3.1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from models import prompts
from models.answers import parse_augmentation, parse_augmentations
from models.errors import BadRequest
from models.types import Rejection
from storage.ledger import outcomes
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import Asked, ask, ask_until_accepted
from worker.context import RunContext
from worker.seeds import augmentation_seeds
from worker.steps.requests import chat

SOFT_RETRIES = 2


async def augment(context: RunContext, works: list[Work]) -> list[Outcome]:
    """One call for each request, or one for all (the paper asks for 20 at a time). A request that the
    common reply left out is asked for alone."""
    if len(works) == 1:
        return [await _alone(context, works[0])]
    return await _together(context, works)


async def _alone(context: RunContext, work: Work) -> Outcome:
    config, teacher = context.experiment.augment, context.experiment.teacher
    request = work.example.request
    messages = prompts.augmentation(request, augmentation_seeds(config))
    asked = await ask_until_accepted(
        context,
        work,
        teacher,
        lambda attempt: chat(teacher, messages, {**teacher.params, **config.params}, (0, attempt)),
        lambda completion: parse_augmentation(completion, request),
        SOFT_RETRIES,
    )
    return _outcome(context, asked)


async def _together(context: RunContext, works: list[Work]) -> list[Outcome]:
    config, teacher = context.experiment.augment, context.experiment.teacher
    requests = [work.example.request for work in works]
    messages = prompts.augmentations(requests, augmentation_seeds(config))
    params = {**teacher.params, **config.params}
    if "max_tokens" in params:
        params["max_tokens"] *= len(works)
    request = chat(teacher, messages, params, (0, 0))
    try:
        completion, purchase = await ask(context, works[0], teacher, request)
    except BadRequest:
        # One request may be why all were refused.
        return [await _alone_or_failed(context, work) for work in works]
    parsed = parse_augmentations(completion, requests)
    ended: list[Outcome] = []
    again: list[Work] = []
    for work, value in zip(works, parsed, strict=True):
        if isinstance(value, Rejection):
            await context.runtime.ledger(
                outcomes.reject, work, value, work.rejections, request.key, purchase, context.runtime.clock()
            )
            context.runtime.resources.committed([purchase])
            again.append(replace(work, rejections=work.rejections + 1))
        else:
            ended.append(_outcome(context, Asked(work, value, completion, request.key, purchase)))
    return ended + list(await asyncio.gather(*(_alone(context, work) for work in again)))


async def _alone_or_failed(context: RunContext, work: Work) -> Outcome:
    try:
        return await _alone(context, work)
    except BadRequest as error:
        return context.failed(work, "bad_request", str(error))


def _outcome(context: RunContext, asked: Asked[str]) -> Outcome:
    if isinstance(asked.value, Rejection):
        return context.failed(asked.work, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "augmentation": asked.value,
        "query": prompts.example_query(asked.work.example.request, asked.value),
    }
    return context.done(asked.work, result, generation=asked.generation, purchase=asked.purchase)
