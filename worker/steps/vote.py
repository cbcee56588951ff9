"""The vote on the samples of an example: self-consistency (Wang et al., 2022). It asks no model."""

from __future__ import annotations

from models.judges import form_of
from models.voting import majority
from storage.ledger import samples
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from storage.schema import NO_SAMPLES
from worker.context import RunContext


async def vote(context: RunContext, work: Work) -> Outcome:
    """The elected sample becomes the example's rationale; its generation is the one that counts."""
    found = await context.runtime.ledger(samples.answered, work)
    if not found:
        drawn = context.experiment.rationale.samples
        return context.failed(work, NO_SAMPLES, f"none of {drawn} samples brought an answer")
    form = form_of(context.experiment.rationale.correctness)
    result = majority([sample.result["answer"] for sample in found], form)
    elected = found[result.place]
    votes = {"samples": result.samples, "winner": result.winner, "groups": result.groups}
    final = elected.result["correct"] and await enough(context, work)
    return context.done(work, {**elected.result, "votes": votes}, correct=final,
                        generation=elected.generation)  # fmt: skip


async def enough(context: RunContext, work: Work) -> bool:
    """Whether a right rationale is the last that its example needs."""
    wanted = context.experiment.rationale.stop_at
    return wanted == 1 or 1 + await context.runtime.ledger(samples.right_before, work) >= wanted
