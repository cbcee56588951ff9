"""The stage answer: a student answers one request in one cell of the grid (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from models.core.answers.checks import LIMIT_USED_UP, usable_text
from models.core.errors import ContextOverflow, NotRecorded
from models.core.experiment.endpoints import Student
from models.core.prompts import rendering
from models.core.prompts.rendering import Extent, StudentPrompt, apply_format
from models.core.tokens import answer_limit
from models.core.types import MALFORMED, Completion, Rejection, Request
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.call_retries import ensure_open
from worker.few_shot import choose_exemplars
from worker.model_calls import CheckedAnswer, ask_until_accepted
from worker.requests import to_student
from worker.run_context import RunContext, query_of

UNKNOWN_PROMPT = "(The prompt of this recorded answer is not known. It was about this request:)"


async def answer(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    cell = context.cells[unit.variant]
    student = context.experiment.student(cell.student)
    if student.replays_cells:
        return await _recorded_answer(context, unit, student)
    exemplars = await choose_exemplars(context, unit, cell)
    chosen = context.passages_for(unit, cell.wording, cell.retrieval)
    stop = context.wording.folder.stop

    def render(extent: Extent, attempt: int) -> Request:
        passages = context.present_passages(chosen[: extent.passages], cell.retrieval)
        shown = [
            exemplar.exemplar(context, cell, count)
            for exemplar, count in zip(exemplars, extent.exemplars, strict=False)
        ]
        query, columns = query_of(unit, cell.wording), unit.example.columns
        text = context.wording.student_prompt(query, passages, shown, columns)
        return to_student(student, apply_format(student.prompt_format, text, stop), (unit.sample, attempt))

    whole = Extent(len(chosen), tuple(len(exemplar.passages) for exemplar in exemplars))
    checked, extent = await _ask(context, unit, student, rendering.shrink(whole), render)
    if isinstance(checked.value, Rejection):
        return context.rejected(checked.unit, checked.value, checked.generation, checked.purchase)
    result = {
        "text": checked.value,
        "exemplars": [exemplar.row for exemplar in exemplars[: len(extent.exemplars)]],
        "passages": extent.passages,
        "dropped": rendering.count_dropped(whole, extent),
        "truncated": checked.completion.finish_reason == "length",
    }
    return context.done(checked.unit, result, generation=checked.generation, purchase=checked.purchase)


async def _recorded_answer(context: RunContext, unit: ClaimedUnit, student: Student) -> UnitOutcome:
    """Replay the answer of the cell. Its prompt, exemplars and documentation are not known."""
    prompt = StudentPrompt(prompt=f"{UNKNOWN_PROMPT}\n\n{unit.example.request}")

    def request(attempt: int) -> Request:
        return to_student(student, prompt, (unit.sample, attempt))

    checked = await ask_until_accepted(context, unit, student, request, _any_text, soft_retries=0)
    if isinstance(checked.value, Rejection):
        return context.rejected(checked.unit, checked.value, checked.generation, checked.purchase)
    result = {"text": checked.value, "truncated": checked.completion.finish_reason == "length"}
    return context.done(checked.unit, result, generation=checked.generation, purchase=checked.purchase)


async def _ask(
    context: RunContext,
    unit: ClaimedUnit,
    student: Student,
    extents: Sequence[Extent],
    render: Callable[[Extent, int], Request],
) -> tuple[CheckedAnswer[str], Extent]:
    """Return the answer to the first of `extents` that fits, and that extent. If the server finds it too
    long, the next is tried; a recording answers only the extent that was recorded. Raise ContextOverflow if
    the request alone is too long, NotRecorded if no extent was recorded."""
    first = await _first_that_fits(context, student, extents, lambda extent: render(extent, 0))
    for index in range(first, len(extents)):
        extent = extents[index]
        attempt = partial(render, extent)
        try:
            return await ask_until_accepted(
                context, unit, student, attempt, _any_text, soft_retries=0
            ), extent
        except (ContextOverflow, NotRecorded):
            if extent is extents[-1]:
                raise
    raise AssertionError("there is always an extent to try")


async def _first_that_fits(
    context: RunContext, student: Student, extents: Sequence[Extent], render: Callable[[Extent], Request]
) -> int:
    """Return the index of the first extent that fits. Tokens are estimated if the backend cannot count them;
    the server may then still refuse. Raise ContextOverflow if no extent fits."""
    if student.max_model_len is None or student.backend == "replay":
        return 0
    client = context.clients.client(student)
    # A model in this process can count once it is open.
    await ensure_open(context, client)
    room = student.max_model_len - max(1, answer_limit(student.params) or 1)

    def tokens(extent: Extent) -> int:
        request = render(extent)
        counted = client.backend.count_tokens(request)
        return client.estimate.usage(request).prompt if counted is None else counted

    index = rendering.first_that_fits(extents, lambda extent: tokens(extent) <= room)
    if index < len(extents):
        return index
    if client.backend.count_tokens(render(extents[-1])) is None:
        return len(extents) - 1
    raise ContextOverflow(
        f"{student.name}: the request alone takes {tokens(extents[-1])} tokens, and max_model_len "
        f"{student.max_model_len} leaves room for {room} beside the answer"
    )


def _any_text(completion: Completion) -> str | Rejection:
    """Accept any text: a student's bad answer is a result. Reject only what is no answer at all."""
    verdict = usable_text(completion)
    if not isinstance(verdict, Rejection):
        return verdict
    thought = bool(completion.reasoning or completion.usage.reasoning)
    if completion.text is None or completion.finish_reason == MALFORMED:
        return verdict
    if verdict.reason == LIMIT_USED_UP and thought:
        return verdict
    return completion.text or ""
