"""answer: a student under test answers one request in one cell of the grid (paper, section 4)."""

from __future__ import annotations

from models import prompts
from models.answers import check
from models.types import Completion, Rejection, Request
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import ask_until_accepted
from worker.context import RunContext, query_of
from worker.exemplars import choose
from worker.steps.requests import to_student


async def answer(context: RunContext, work: Work) -> Outcome:
    cell = context.cells[work.variant]
    student = context.experiment.student(cell.student)
    exemplars = await choose(context, work, cell)
    chosen = context.chosen_for(work, cell.query, cell.retrieval) if cell.retrieval else []
    passages = context.presented(chosen, cell.retrieval) if chosen else ()
    prompt = prompts.student_prompt(
        query_of(work, cell.query), passages, [shown.exemplar for shown in exemplars]
    )

    def render(attempt: int) -> Request:
        asked = prompts.formatted(student.prompt_format, prompt)
        return to_student(student, asked, (work.sample, attempt))

    asked = await ask_until_accepted(context, work, student, render, _any_text, soft_retries=0)
    if isinstance(asked.value, Rejection):
        return context.failed(work, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "text": asked.value,
        "exemplars": [shown.row for shown in exemplars],
        "passages": len(chosen),
        "truncated": asked.completion.finish_reason == "length",
    }
    return context.done(work, result, generation=asked.generation, purchase=asked.purchase)


def _any_text(completion: Completion) -> str | Rejection:
    """A student's bad answer is a result; only what is no answer at all is asked for again."""
    verdict = check(completion)
    if isinstance(verdict, Rejection) and verdict.reason in {"null", "html", "malformed"}:
        return verdict
    return completion.text or ""
