"""grow: the teacher writes new requests and their answers (Self-Instruct, Wang et al., 2023).

What of it is kept, the gate decides when all have been written: units end in any order.
"""

from __future__ import annotations

from models.answers import parse_pairs
from models.rounds import round_of
from models.types import Rejection
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import ask_until_accepted
from worker.context import RunContext
from worker.growing import shown_to_grow
from worker.steps.requests import chat

SOFT_RETRIES = 2


async def grow(context: RunContext, work: Work) -> Outcome:
    config, teacher = context.experiment.grow, context.experiment.teacher
    shown = await shown_to_grow(context, work)
    messages = context.wording.growth([(each.request, each.answer) for each in shown], config.requests)
    # A later round that is shown the same as an earlier one is not to have the same answer.
    sample = (round_of(work.variant) - 1) * config.samples + work.sample
    asked = await ask_until_accepted(
        context,
        work,
        teacher,
        lambda attempt: chat(teacher, messages, {**teacher.params, **config.params}, (sample, attempt)),
        parse_pairs,
        SOFT_RETRIES,
    )
    if isinstance(asked.value, Rejection):
        return context.failed(asked.work, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "shown": [each.name for each in shown],
        "pairs": [[pair.request, pair.answer, pair.flaw] for pair in asked.value],
    }
    return context.done(asked.work, result, generation=asked.generation, purchase=asked.purchase)
