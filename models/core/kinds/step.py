"""A step: what is done to every row. Each kind of step is one class, in a file of its own.

Ledger, feeder, limits, batches, replay, progress, `show` and exports know a kind only by what StepSettings
declares here; a worker gives it Services.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import Field, field_validator

from models.core.experiment.endpoints import Name, StrictModel
from models.core.prompts.column_values import ExpressionError, WithFields, is_null
from models.core.prompts.expressions import condition, prompt_text
from models.core.types import JSON, AnswerTests, Completion, Hit, Message, Rejection

T = TypeVar("T")
FileContent = Literal["text", "json", "rows"]
# The queue of a step that asks no model.
QueueName = Literal["judge", "retrieve", "python"]


class SampledValues(list[Any]):
    """The values of a column that was sampled, in the order of samples; null for those that failed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A unit as its step sees it: the columns of its row by name, those of the file and of earlier steps.

    A column of a sampled step holds the value of the unit's own `sample`, or SampledValues for a step that
    gathers them. `identity` names the row's content, for steps that draw by it. `reference` and `tests` are
    those that the data names.
    """

    unit: Any
    columns: Mapping[str, Any]
    sample: int = 0
    identity: str = ""
    reference: str = ""
    tests: AnswerTests | None = None


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """The answer of a model: its accepted `value`, or the Rejection that used up its budget. `call` is for
    the worker, which commits the purchase together with the unit."""

    value: T | Rejection
    text: str
    call: Any


@dataclass(frozen=True, slots=True)
class StepResult:
    """The end of a row's step: the `value` of its column and further `fields`, or why there is none.

    `failure` is the name of a reason with its detail. `reply` is the answer of the model, if one was asked.
    """

    row: Row
    value: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    failure: tuple[str, str] | None = None
    reply: Reply[Any] | None = None

    def stored(self) -> JSON:
        """Return the result in the form that the ledger stores."""
        return {"value": self.value, **self.fields}


Parse = Callable[[Completion], T | Rejection]
# New calls for an answer that is rejected, by the reason of the rejection.
Budgets = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A question to the model `model` of the experiment. `params` override the model's own; `schema` is that
    of the JSON that is asked for."""

    model: str
    messages: tuple[Message, ...]
    parse: Parse[T]
    params: Mapping[str, Any]
    budgets: Budgets
    schema: JSON | None = None


class Services(Protocol):
    """The means that a worker gives to steps. Calls are within the limits of all workers, and bought once."""

    async def ask(self, row: Row, call: Call[T]) -> Reply[T]:
        """Ask until `call.parse` accepts an answer or the budget of its rejection is used up."""

    async def ask_together(
        self, rows: Sequence[Row], call: Call[list[T | Rejection]], alone: Callable[[Row], Call[T]]
    ) -> list[tuple[Row, Reply[T]]]:
        """Ask once for all rows, with that many times the token limit; a row whose answer is missing or
        rejected is asked for alone."""

    async def search(self, queries: Sequence[str]) -> list[list[Hit]]:
        """Return the hits of each query in the corpus of the experiment, best first."""

    async def passes_tests(self, row: Row, answer: str) -> tuple[bool, str]:
        """Execute the answer against the tests of its row in the sandbox; return the outcome in a word."""

    async def decide(self, answer: str, reference: str) -> bool:
        """Ask the function `correct` of the task folder."""

    async def call_python(self, source: str, function: str, arguments: list[Any], seconds: float) -> Any:
        """Call a function of `source`, or without it of the task folder, in a process beside the worker.
        Raise TaskFolderError."""


class StepSettings(StrictModel):
    """The keys of a step of any kind."""

    kind: str
    """the kind of the step"""
    needs: list[Name] = Field([])
    """steps to wait for whose columns are not read"""
    when: str = ""
    """a condition over columns, such as `not verdict.correct`; where it is false, the row skips the step and
    its column is null"""
    optional: Annotated[bool, Field(strict=True)] = False
    """where the step fails, its column is null and the row goes on"""

    # Units that one Celery task carries.
    units_per_task: ClassVar[int] = 8
    # One unit of the step follows all samples of the steps that it reads, failed ones too.
    gathers: ClassVar[bool] = False
    # Where the units of a step wait that asks no model.
    queue: ClassVar[QueueName] = "judge"
    # How progress names what the step makes.
    makes: ClassVar[str] = "values"
    # How reports name a result that `is_right`.
    word_for_right: ClassVar[str] = "right"
    # Keys that may name a file, and what it holds: a text, JSON, or rows of JSON.
    files: ClassVar[Mapping[str, FileContent]] = {}
    # Keys that tell the kind of a step that does not name it.
    signs: ClassVar[tuple[str, ...]] = ()

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, text: str) -> str:
        if text:
            try:
                condition(text)
            except ExpressionError as error:
                raise ValueError(f"is no condition: {error}") from None
        return text

    def prompts(self) -> Mapping[str, str]:
        """Return the step's templates by their key."""
        return {}

    def reads(self) -> Mapping[str, str]:
        """Return the columns that the step reads, each with the key that names it."""
        named = {
            name: key for key, text in self.prompts().items() if text for name in prompt_text(text).columns
        }
        if self.when:
            named |= dict.fromkeys(condition(self.when).columns, "when")
        return named

    def parts_read(self) -> Mapping[tuple[str, str], str]:
        """Return what the step reads of columns, such as the part `score` of `critique`, with its key."""
        texts = {key: prompt_text(text).parts for key, text in self.prompts().items() if text}
        if self.when:
            texts["when"] = condition(self.when).parts
        return {part: key for key, parts in texts.items() for part in parts}

    def parts(self, steps: Mapping[str, StepSettings]) -> frozenset[str] | None:
        """Return the parts that the step's column may have; None where no one can foresee them."""
        return None

    @property
    def asks(self) -> str:
        """The name of the model that the step asks, or an empty string."""
        return ""

    @property
    def draws_by_row(self) -> bool:
        """True if the step draws something by the content of its row, and needs its `identity`."""
        return False

    @property
    def compares_with(self) -> Literal["", "reference", "tests"]:
        """The part of a row that the step needs beside columns."""
        return ""

    @property
    def draws(self) -> int:
        """The number of samples that the step makes of each row."""
        return 1

    @property
    def rows_per_call(self) -> int:
        """The number of rows that one call of a model serves."""
        return 1

    @property
    def shares_work(self) -> bool:
        """True if the units of a task are executed together."""
        return False

    @property
    def uses_module(self) -> bool:
        """True if the step calls the task folder's own Python."""
        return False

    @property
    def compares(self) -> Sequence[str]:
        """The columns of which a result has the best as its value and the worst as `rejected`."""
        return ()

    @property
    def verdict(self) -> str:
        """The part of an object that a condition means by the step, as `correct`; empty for other values."""
        return ""

    @property
    def exported(self) -> Sequence[str]:
        """The fields of a result that an export adds to the step's column, such as `draft_text`."""
        return ()

    def is_right(self, result: Mapping[str, Any]) -> bool | None:
        """Tell what a stored result says of its row: right, wrong, or nothing."""
        return None

    def numbers(self, result: Mapping[str, Any]) -> Mapping[str, float]:
        """Return the numbers of a stored result that a report sums up, by name."""
        return {}

    @abstractmethod
    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        """Do the work of a task, and return a result for each row in any order."""


def correct_in(result: Mapping[str, Any]) -> bool | None:
    """Return what the value of a stored result says under `correct`; None if it says nothing."""
    value = result.get("value")
    correct = value.get("correct") if isinstance(value, Mapping) else None
    return correct if isinstance(correct, bool) else None


def require_prompt(text: str) -> str:
    """Return the template. Raise ValueError with the reason if it cannot be used."""
    if not text.strip():
        raise ValueError("is empty; write what the model is asked, such as {{ question }}")
    try:
        prompt_text(text)
    except ExpressionError as error:
        raise ValueError(f"is no template: {error}") from None
    return text


def render_rows(rows: Sequence[Row], key: str, text: str) -> tuple[list[tuple[Row, str]], list[StepResult]]:
    """Render the template under `key` for each row. Return the rows with their texts, and failures of the
    others."""
    rendered: list[tuple[Row, str]] = []
    failed: list[StepResult] = []
    for row in rows:
        try:
            rendered.append((row, prompt_text(text).render(row.columns)))
        except ExpressionError as error:
            failed.append(StepResult(row, failure=("prompt", f"{key}: {error}")))
    return rendered, failed


def column(columns: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name such as `critique.score`; None if there is none."""
    first, *parts = name.split(".")
    value = columns.get(first)
    for part in parts:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            value = value.fields.get(part) if isinstance(value, WithFields) else None
    return value


def part_of(name: str) -> tuple[str, str]:
    """Return column and first part of a dotted name; the part is empty if there is none."""
    first, *parts = name.split(".")
    return first, parts[0] if parts else ""


def as_text(value: Any) -> str:
    """Return a value as prompts and rules see it: a text as it is, null as nothing, others as JSON."""
    if is_null(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
