"""The stages rationale and rationalize: from request and documentation to code (paper, section 3.3).

Where the answer is wrong, the teacher tries again with the right answer as a hint, as in STaR (Zelikman
et al., 2022). The hint is not stored with the rationale.
"""

from __future__ import annotations

from functools import partial

from models.core.answers.checks import REASONS
from models.core.answers.hint_leaks import mentions_hint, without_hint
from models.core.answers.parsers import ParsedRationale, parse_rationale
from models.core.correctness import form_of, is_correct, majority
from models.core.pipeline.rounds import SAMPLES, pass_of
from models.core.pipeline.stages import train_wording
from models.core.programs import ExecutionVerdict
from models.core.types import Rejection
from storage.ledger import exemplars
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.schema import NO_SAMPLES
from worker.few_shot import shown_to_teacher
from worker.judging import Judged, judge_answer, meets_tests, stored_verdict
from worker.model_calls import CheckedAnswer, ask_until_accepted
from worker.requests import chat_attempts
from worker.run_context import RunContext, query_of


async def rationale(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    """Ask for one answer; if several are drawn, for one of them, or vote on them."""
    if unit.variant not in SAMPLES and context.experiment.rationale.samples > 1:
        return await _vote(context, unit)
    return await _reason(context, unit, hint=None, sample=unit.sample)


async def rationalize(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    return await _reason(context, unit, hint=unit.example.reference, sample=pass_of(unit.variant))


async def _reason(context: RunContext, unit: ClaimedUnit, hint: str | None, sample: int) -> UnitOutcome:
    config, teacher = context.experiment.rationale, context.experiment.model("teacher")
    wording = train_wording(context.experiment)
    query = query_of(unit, wording)
    exemplars = await shown_to_teacher(context, unit)
    retrieval = context.train_retrieval
    passages = context.present_passages(context.passages_for(unit, wording, retrieval), retrieval)
    columns = unit.example.columns
    messages = context.wording.rationale(query, passages, exemplars, hint, config.hint, columns)
    render = chat_attempts(teacher, messages, config.params, sample)
    rejects_leaks = hint is not None and config.hint_leaks == "wrong"
    parse = partial(parse_rationale, request=query, hinted=rejects_leaks)
    checked = await ask_until_accepted(context, unit, teacher, render, parse, config.retries)
    return await _outcome(context, checked, query, hinted=hint is not None)


async def _outcome(
    context: RunContext, checked: CheckedAnswer[ParsedRationale], query: str, *, hinted: bool
) -> UnitOutcome:
    """Count a rationale of the wrong form as wrong, so that it is rationalized. No answer at all is a
    failure."""
    unit, value = checked.unit, checked.value
    if isinstance(value, Rejection) and not REASONS[value.reason].soft:
        return context.rejected(unit, value, checked.generation, checked.purchase)
    text = value.text if isinstance(value, ParsedRationale) else (checked.completion.text or "").strip()
    leaks = isinstance(value, Rejection) and value.reason == "hint_leak"
    code = value.code if isinstance(value, ParsedRationale) else ""
    verdict = await _verdict(context, unit, code) if not leaks else None
    judged, purchase = Judged(False), checked.purchase
    if not leaks:
        if purchase and context.experiment.rationale.correctness == "model":
            # The judge's answer is a second purchase.
            await context.ledger.keep(unit, purchase)
            purchase = None
        judged = await _judge(context, unit, text, code, verdict)
    right = judged.right
    result = {
        "query": query,
        "text": text,
        "answer": code,
        "correct": right,
        "hint_leak": leaks or (hinted and mentions_hint(text, without_hint(query))),
        "form": value.reason if isinstance(value, Rejection) else "",
        **judged.stored(),
    }
    if verdict:
        result["execution"] = stored_verdict(verdict)
    # Not a right sample, only the vote on all samples makes further rationales unnecessary.
    final = right and unit.variant not in SAMPLES and await _enough(context, unit)
    return context.done(unit, result, correct=final, generation=checked.generation,
                        purchase=judged.purchase or purchase,
                        rejection=value if isinstance(value, Rejection) else None)  # fmt: skip


async def _verdict(context: RunContext, unit: ClaimedUnit, code: str) -> ExecutionVerdict | None:
    """Run the tests; return None if tests do not count or there are none."""
    if context.experiment.rationale.correctness != "execution" or not unit.example.tests or not code:
        return None
    return await meets_tests(context, code, unit.example.tests)


async def _judge(
    context: RunContext, unit: ClaimedUnit, text: str, code: str, verdict: ExecutionVerdict | None
) -> Judged:
    """Judge by the rule; if tests count but none could be run, compare syntax trees."""
    rule = context.experiment.rationale.correctness
    if rule in ("model", "module"):
        return await judge_answer(context, unit, rule, code)
    if verdict and verdict.outcome != "unavailable":
        return Judged(verdict.outcome == "passed")
    return Judged(is_correct("tree" if rule == "execution" else rule, text, unit.example.reference))


async def _vote(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    """Elect one sample as the example's rationale (self-consistency, Wang et al., 2022); its generation
    counts."""
    samples = await context.ledger(exemplars.answered_samples, unit)
    if not samples:
        drawn = context.experiment.rationale.samples
        return context.failed(unit, NO_SAMPLES, f"none of {drawn} samples brought an answer")
    form = form_of(context.experiment.rationale.correctness)
    result = majority([sample.result["answer"] for sample in samples], form)
    elected = samples[result.index]
    votes = {"samples": result.samples, "winner": result.winner, "groups": result.groups}
    final = elected.result["correct"] and await _enough(context, unit)
    return context.done(unit, {**elected.result, "votes": votes}, correct=final,
                        generation=elected.generation)  # fmt: skip


async def _enough(context: RunContext, unit: ClaimedUnit) -> bool:
    """Return true if a right rationale is the last that its example needs."""
    wanted = context.experiment.rationale.stop_at
    return wanted == 1 or 1 + await context.ledger(exemplars.count_right_before, unit) >= wanted
