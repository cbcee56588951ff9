"""answer: a student under test answers one request in one cell of the grid (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.core.answers.checks import check
from models.core.errors import ContextOverflow, NotRecorded
from models.core.experiment.endpoints import Student
from models.core.prompts import rendering
from models.core.prompts.rendering import Extent, apply_format
from models.core.tokens import answer_limit
from models.core.types import MALFORMED, Completion, Rejection, Request
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.few_shot import choose_exemplars
from worker.model_calls import CheckedAnswer, ask_until_accepted, ensure_open
from worker.requests import to_student
from worker.run_context import RunContext, query_of


async def answer(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    cell = context.cells[unit.variant]
    student = context.experiment.student(cell.student)
    exemplars = await choose_exemplars(context, unit, cell)
    chosen = context.chosen_for(unit, cell.query, cell.retrieval) if cell.retrieval else []

    stop = context.wording.folder.stop

    def render(extent: Extent, attempt: int) -> Request:
        passages = context.presented(chosen[: extent.passages], cell.retrieval) if chosen else ()
        shown = [
            one.exemplar(context, cell, count)
            for one, count in zip(exemplars, extent.exemplars, strict=False)
        ]
        text = context.wording.student_prompt(query_of(unit, cell.query), passages, shown)
        return to_student(student, apply_format(student.prompt_format, text, stop), (unit.sample, attempt))

    whole = Extent(len(chosen), tuple(len(one.passages) for one in exemplars))
    asked, extent = await _ask(context, unit, student, rendering.extents(whole), render)
    if isinstance(asked.value, Rejection):
        return context.failed(asked.unit, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "text": asked.value,
        "exemplars": [one.row for one in exemplars[: len(extent.exemplars)]],
        "passages": extent.passages,
        "dropped": rendering.dropped(whole, extent),
        "truncated": asked.completion.finish_reason == "length",
    }
    return context.done(asked.unit, result, generation=asked.generation, purchase=asked.purchase)


async def _ask(
    context: RunContext,
    unit: ClaimedUnit,
    student: Student,
    ways: Sequence[Extent],
    render: Callable[[Extent, int], Request],
) -> tuple[CheckedAnswer[str], Extent]:
    """The answer to the first of `ways` that fits, and that one. Where the server knows better, the next is
    tried; of a recording, that which was recorded. Raises ContextOverflow where the request alone is too
    long, NotRecorded where no way was recorded."""
    place = await _first_way(context, student, ways, lambda extent: render(extent, 0))
    while True:
        extent = ways[place]

        def attempt(number: int, extent: Extent = extent) -> Request:
            return render(extent, number)

        try:
            asked = await ask_until_accepted(context, unit, student, attempt, _any_text, soft_retries=0)
        except (ContextOverflow, NotRecorded):
            place += 1
            if place == len(ways):
                raise
        else:
            return asked, extent


async def _first_way(
    context: RunContext, student: Student, ways: Sequence[Extent], render: Callable[[Extent], Request]
) -> int:
    """Tokens are counted where the backend can, else guessed: then the server has the last word."""
    if student.max_model_len is None or student.backend == "replay":
        return 0
    line = context.runtime.resources.line(student)
    # A model that runs here can count once it is open.
    await ensure_open(context, line)
    room = student.max_model_len - max(1, answer_limit(student.params) or 1)

    def tokens(extent: Extent) -> int:
        request = render(extent)
        counted = line.backend.count_tokens(request)
        return line.estimate.usage(request).prompt if counted is None else counted

    place = rendering.first_that_fits(ways, lambda extent: tokens(extent) <= room)
    if place < len(ways):
        return place
    if line.backend.count_tokens(render(ways[-1])) is None:
        return len(ways) - 1
    raise ContextOverflow(
        f"{student.name}: the request alone takes {tokens(ways[-1])} tokens, and max_model_len "
        f"{student.max_model_len} leaves room for {room} beside the answer"
    )


def _any_text(completion: Completion) -> str | Rejection:
    """A student's bad answer is a result; only what is no answer at all is asked for again."""
    verdict = check(completion)
    if isinstance(verdict, Rejection) and (completion.text is None or completion.finish_reason == MALFORMED):
        return verdict
    return completion.text or ""
