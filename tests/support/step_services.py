"""The services of steps without a worker: answers are written by the test, and asked for as a worker does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter

from models.core.answers.checks import REASONS
from models.core.kinds import AnyStep
from models.core.kinds.step import Call, Reply, Row, StepResult, StepSettings
from models.core.prompts.expressions import ROW
from models.core.types import AnswerTests, Completion, Hit, Passage, Rejection, Usage

T = TypeVar("T")


def step(**settings: Any) -> StepSettings:
    """Return the step that these keys of an experiment describe."""
    made: StepSettings = TypeAdapter(AnyStep).validate_python(settings)
    return made


def row(
    columns: Mapping[str, Any] | None = None,
    *,
    sample: int = 0,
    identity: str = "",
    reference: str = "",
    tests: AnswerTests | None = None,
    **more: Any,
) -> Row:
    values = {**(columns or {}), **more}
    return Row(len(values), {**values, ROW: dict(values)}, sample, identity, reference, tests)


def completion(text: str | None, finish_reason: str = "stop", refusal: str | None = None) -> Completion:
    return Completion(text, finish_reason, Usage(), refusal)


@dataclass
class WrittenServices:
    """`answers` are given one after the other, or by a function of the call and the number of the attempt.
    `asked` are the calls that were made."""

    answers: Iterable[str | Completion] | Callable[[Call[Any], int], str | Completion] = ()
    asked: list[Call[Any]] = field(default_factory=list)
    verdict: tuple[bool, str] = (True, "passed")
    queries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._answers = self.answers if callable(self.answers) else iter(self.answers)

    async def ask(self, row: Row, call: Call[T]) -> Reply[T]:
        rejections = 0
        while True:
            answer = self._answer(call, rejections)
            value = call.parse(answer)
            is_final = not isinstance(value, Rejection) or REASONS[value.reason].final
            if is_final or rejections >= call.budgets[value.reason]:
                return Reply(value, answer.text or "", None)
            rejections += 1

    async def ask_together(
        self, rows: Sequence[Row], call: Call[list[T | Rejection]], alone: Callable[[Row], Call[T]]
    ) -> list[tuple[Row, Reply[T]]]:
        answer = self._answer(call, 0)
        values = call.parse(answer)
        assert isinstance(values, list)
        return [
            (
                each,
                await self.ask(each, alone(each)) if isinstance(value, Rejection) else Reply(value, "", None),
            )
            for each, value in zip(rows, values, strict=True)
        ]

    async def search(self, queries: Sequence[str]) -> list[list[Hit]]:
        self.queries += queries
        hits = [Hit(Passage(f"p{rank}", f"name{rank}", "f()", "text"), 1 / rank) for rank in (1, 2, 3)]
        return [hits if query != "nothing" else [] for query in queries]

    async def passes_tests(self, row: Row, answer: str) -> tuple[bool, str]:
        return self.verdict

    async def decide(self, answer: str, reference: str) -> bool:
        return answer == reference.upper()

    async def call_python(self, source: str, function: str, arguments: list[Any], seconds: float) -> Any:
        raise NotImplementedError

    def _answer(self, call: Call[Any], attempt: int) -> Completion:
        self.asked.append(call)
        answer = self._answers(call, attempt) if callable(self._answers) else next(self._answers)
        return answer if isinstance(answer, Completion) else completion(answer)


async def execute(made: StepSettings, services: WrittenServices, *rows: Row) -> list[StepResult]:
    """Return the results in the order of rows."""
    results = await made.execute(services, rows)
    assert len(results) == len(rows)
    return [next(result for result in results if result.row is each) for each in rows]


def without_reply(result: StepResult) -> StepResult:
    return replace(result, reply=None)
