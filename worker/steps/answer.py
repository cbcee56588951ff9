"""answer: a student under test answers one request in one cell of the grid (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models import prompts
from models.answers import check
from models.errors import ContextOverflow, NotRecorded
from models.prompts import fitting
from models.prompts.fitting import Extent
from models.students import Student
from models.tokens import answer_limit
from models.types import MALFORMED, Completion, Rejection, Request
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.asking import Asked, ask_until_accepted
from worker.calling import opened
from worker.context import RunContext, query_of
from worker.exemplars import choose
from worker.steps.requests import to_student


async def answer(context: RunContext, work: Work) -> Outcome:
    cell = context.cells[work.variant]
    student = context.experiment.student(cell.student)
    exemplars = await choose(context, work, cell)
    chosen = context.chosen_for(work, cell.query, cell.retrieval) if cell.retrieval else []

    stop = context.wording.folder.stop

    def render(extent: Extent, attempt: int) -> Request:
        passages = context.presented(chosen[: extent.passages], cell.retrieval) if chosen else ()
        shown = [
            one.exemplar(context, cell, count)
            for one, count in zip(exemplars, extent.exemplars, strict=False)
        ]
        text = context.wording.student_prompt(query_of(work, cell.query), passages, shown)
        return to_student(
            student, prompts.formatted(student.prompt_format, text, stop), (work.sample, attempt)
        )

    whole = Extent(len(chosen), tuple(len(one.passages) for one in exemplars))
    asked, extent = await _ask(context, work, student, fitting.extents(whole), render)
    if isinstance(asked.value, Rejection):
        return context.failed(asked.work, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "text": asked.value,
        "exemplars": [one.row for one in exemplars[: len(extent.exemplars)]],
        "passages": extent.passages,
        "dropped": fitting.dropped(whole, extent),
        "truncated": asked.completion.finish_reason == "length",
    }
    return context.done(asked.work, result, generation=asked.generation, purchase=asked.purchase)


async def _ask(
    context: RunContext,
    work: Work,
    student: Student,
    ways: Sequence[Extent],
    render: Callable[[Extent, int], Request],
) -> tuple[Asked[str], Extent]:
    """The answer to the first of `ways` that fits, and that one. Where the server knows better, the next is
    tried; of a recording, that which was recorded. Raises ContextOverflow where the request alone is too
    long, NotRecorded where no way was recorded."""
    place = await _first_way(context, student, ways, lambda extent: render(extent, 0))
    while True:
        extent = ways[place]

        def attempt(number: int, extent: Extent = extent) -> Request:
            return render(extent, number)

        try:
            asked = await ask_until_accepted(context, work, student, attempt, _any_text, soft_retries=0)
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
    await opened(context, line)
    room = student.max_model_len - max(1, answer_limit(student.params) or 1)

    def tokens(extent: Extent) -> int:
        request = render(extent)
        counted = line.backend.count_tokens(request)
        return line.estimate.usage(request).prompt if counted is None else counted

    place = fitting.first_that_fits(ways, lambda extent: tokens(extent) <= room)
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
