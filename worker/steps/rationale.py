"""rationale and rationalize: reasoning from request and documentation to code (paper, section 3.3).

Where the answer is wrong, the teacher tries again with the right answer as a hint, as in STaR (Zelikman
et al., 2022). The hint is not stored with the rationale.
"""

from __future__ import annotations

from models.answers import REASONS, Rationale, parse_rationale
from models.execution import Verdict
from models.judges import correct
from models.retrieval.settings import BASE
from models.rounds import SAMPLES, pass_of
from models.stages import train_wording
from models.types import Rejection
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import Asked, ask_until_accepted
from worker.context import RunContext, query_of
from worker.execution import meets_tests, stored
from worker.judging import Judged, judge_answer
from worker.rounds import shown_to_teacher
from worker.steps.requests import chat
from worker.steps.vote import enough, vote


async def rationale(context: RunContext, work: Work) -> Outcome:
    """One answer; or, where several are drawn, one of them or the vote on them."""
    if work.variant not in SAMPLES and context.experiment.rationale.samples > 1:
        return await vote(context, work)
    return await _reason(context, work, hint=None, sample=work.sample)


async def rationalize(context: RunContext, work: Work) -> Outcome:
    return await _reason(context, work, hint=work.example.reference, sample=pass_of(work.variant))


async def _reason(context: RunContext, work: Work, hint: str | None, sample: int) -> Outcome:
    config, teacher = context.experiment.rationale, context.experiment.teacher
    wording = train_wording(context.experiment)
    query = query_of(work, wording)
    exemplars = await shown_to_teacher(context, work)
    passages = context.presented(context.chosen_for(work, wording, BASE), BASE)
    messages = context.wording.rationale(query, passages, exemplars, hint, config.hint)
    asked = await ask_until_accepted(
        context,
        work,
        teacher,
        lambda attempt: chat(teacher, messages, {**teacher.params, **config.params}, (sample, attempt)),
        lambda completion: parse_rationale(completion, query, hinted=hint is not None),
        config.retries,
    )
    return await _outcome(context, asked, query)


async def _outcome(context: RunContext, asked: Asked[Rationale], query: str) -> Outcome:
    """A rationale of the wrong form counts as wrong, and is rationalized; no answer at all is a failure."""
    work, value = asked.work, asked.value
    if isinstance(value, Rejection) and not REASONS[value.reason].soft:
        return context.failed(work, value.reason, value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=value)  # fmt: skip
    text = value.text if isinstance(value, Rationale) else (asked.completion.text or "").strip()
    leaks = isinstance(value, Rejection) and value.reason == "hint_leak"
    code = value.code if isinstance(value, Rationale) else ""
    verdict = await _verdict(context, work, code) if not leaks else None
    judged, purchase = Judged(False), asked.purchase
    if not leaks:
        if purchase and context.experiment.rationale.correctness == "model":
            # The judge's answer is one more to pay for.
            await context.runtime.keep(work, purchase)
            purchase = None
        judged = await _judge(context, work, text, code, verdict)
    right = judged.right
    result = {
        "query": query,
        "text": text,
        "answer": code,
        "correct": right,
        "hint_leak": leaks,
        "form": value.reason if isinstance(value, Rejection) else "",
        **judged.stored(),
    }
    if verdict:
        result["execution"] = stored(verdict)
    # A right sample ends nothing: the vote does.
    final = right and work.variant not in SAMPLES and await enough(context, work)
    return context.done(work, result, correct=final, generation=asked.generation,
                        purchase=judged.purchase or purchase,
                        rejection=value if isinstance(value, Rejection) else None)  # fmt: skip


async def _verdict(context: RunContext, work: Work, code: str) -> Verdict | None:
    """What the tests say of an answer; None where they are not asked."""
    if context.experiment.rationale.correctness != "execution" or not work.example.tests or not code:
        return None
    return await meets_tests(context, code, work.example.tests)


async def _judge(context: RunContext, work: Work, text: str, code: str, verdict: Verdict | None) -> Judged:
    """Where tests count, and there are none that could be run, an answer is right by its tree."""
    rule = context.experiment.rationale.correctness
    if rule in ("model", "module"):
        return await judge_answer(context, work, rule, code)
    if verdict and verdict.outcome != "unavailable":
        return Judged(verdict.outcome == "passed")
    return Judged(correct("tree" if rule == "execution" else rule, text, work.example.reference))
