"""The kind generate: a model answers a prompt over the columns of a row."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from models.core.answers.checks import is_blank, is_refusal, reject, usable_text
from models.core.answers.extraction import answer_code, before_next_example, code_in
from models.core.answers.hint_leaks import mentions_hint
from models.core.answers.json_output import parse_json, require_schema
from models.core.answers.parsers import numbered_items
from models.core.answers.repetition import repeats_request
from models.core.experiment.endpoints import Name, Params, Whole
from models.core.kinds.accepted_answers import Check
from models.core.kinds.step import (
    Call,
    FileContent,
    Reply,
    Row,
    Services,
    StepResult,
    StepSettings,
    as_text,
    render_rows,
    require_prompt,
)
from models.core.prompts.column_values import ExpressionError
from models.core.prompts.expressions import ROW, prompt_text
from models.core.types import JSON, Completion, Message, Rejection

Template = Annotated[str, AfterValidator(require_prompt)]
MANY = ("Do what each of the numbered items asks. Number your answers alike, and begin each on a line of its "
        "own, as in `1. ...`.")  # fmt: skip


class GenerateStep(StepSettings):
    """A model answers a prompt."""

    kind: Literal["generate"] = "generate"
    model: Name = "teacher"
    """the model, by its name"""
    prompt: Template
    """a Jinja template over columns, or a file of it (`.txt`, `.md`, `.j2`)"""
    system: Template | Literal[""] = ""
    """the system message, likewise"""
    examples: list[JSON] = Field([])
    """worked rows, or a JSONL file: the columns that the prompt reads, and the answer under the step's
    name"""
    shots: Annotated[Whole, Field(ge=0, le=64)] | None = None
    """how many of them are drawn for each row; left out: all are shown"""
    params: Params = Field({})
    """beside the model's"""
    output: Literal["text", "json", "answer", "code"] = "text"
    """the column: the `text`, `json`, the `answer` after "The answer is", or `code`; around the last two
    stands `NAME_text`"""
    output_schema: JSON | None = Field(None, validation_alias=AliasChoices("schema", "output_schema"))
    """a JSON schema that `json` must fit, or a file of it"""
    check: Check = Check()
    """answers that are not accepted"""
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    """answers to each row"""
    together: Annotated[Whole, Field(ge=1, le=100)] = 1
    """rows in one call, numbered; plain texts only, no batches"""

    makes: ClassVar[str] = "answers"
    files: ClassVar[Mapping[str, FileContent]] = {
        "prompt": "text",
        "system": "text",
        "schema": "json",
        "examples": "rows",
    }
    signs: ClassVar[tuple[str, ...]] = ("prompt",)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.output_schema is not None:
            if self.output != "json":
                raise ValueError("schema needs output: json")
            try:
                require_schema(self.output_schema)
            except ValueError as error:
                raise ValueError(f"schema {error}") from None
        if self.together > 1 and prompt_text(self.system).columns:
            raise ValueError("together > 1 has one system text for all rows, which reads no columns")
        if self.together > 1 and (self.samples > 1 or self.output != "text" or self.examples):
            raise ValueError("together > 1 asks for plain texts: leave out samples, output and examples")
        if self.shots is not None and self.shots > len(self.examples):
            raise ValueError(f"shots {self.shots} is more than the {len(self.examples)} examples")
        read = prompt_text(self.prompt).columns - {ROW}
        for number, example in enumerate(self.examples):
            if missing := read - example.keys():
                raise ValueError(f"examples.{number} lacks {min(missing)}, which the prompt reads")
            if len(example) != len(read) + 1:
                others = ", ".join(sorted(example.keys() - read)) or "nothing"
                raise ValueError(
                    f"examples.{number} has {others} beside what the prompt reads; it needs one more key, "
                    "the name of the step, with its answer"
                )
        return self

    @property
    def shares_work(self) -> bool:
        return self.together > 1

    @property
    def asks(self) -> str:
        return self.model

    @property
    def draws(self) -> int:
        return self.samples

    @property
    def draws_by_row(self) -> bool:
        return self.shots is not None

    @property
    def rows_per_call(self) -> int:
        return self.together

    @property
    def exported(self) -> Sequence[str]:
        return ("text",) if self.output in ("answer", "code") else ()

    def parts(self, steps: Mapping[str, StepSettings]) -> frozenset[str] | None:
        return None if self.output == "json" else frozenset(self.exported)

    def prompts(self) -> Mapping[str, str]:
        return {"prompt": self.prompt, "system": self.system}

    def answer_of(self, example: JSON) -> str:
        """Return the answer of a worked row: the value under the only key that the prompt does not read."""
        columns = prompt_text(self.prompt).columns
        return as_text(next(value for key, value in example.items() if key not in columns))

    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        asked, results = render_rows(rows, "prompt", self.prompt)
        if len(asked) > 1:
            call = self._common_call([text for _, text in asked])
            replies = await services.ask_together([row for row, _ in asked], call, self._call)
            return results + [self._result(row, reply) for row, reply in replies]
        for row, _ in asked:
            try:
                call = self._call(row)
            except ExpressionError as error:
                results.append(StepResult(row, failure=("prompt", f"system: {error}")))
            else:
                results.append(self._result(row, await services.ask(row, call)))
        return results

    def _call(self, row: Row) -> Call[Any]:
        """Return the question for one row. Raise ExpressionError if a column is missing."""
        messages = [Message("system", prompt_text(self.system).render(row.columns))] if self.system else []
        for example in self._shown(row):
            messages.append(Message("user", prompt_text(self.prompt).render({**example, ROW: example})))
            messages.append(Message("assistant", self.answer_of(example)))
        asked = prompt_text(self.prompt).render(row.columns)
        messages.append(Message("user", asked))
        parse = partial(self._parse, prompt=asked)
        return Call(self.model, tuple(messages), parse, self.params, self.check.budgets(), self.output_schema)

    def _shown(self, row: Row) -> list[JSON]:
        if self.shots is None:
            return self.examples
        drawn = random.Random(row.identity).sample(range(len(self.examples)), self.shots)
        return [self.examples[index] for index in sorted(drawn)]

    def _common_call(self, asked: Sequence[str]) -> Call[list[Any]]:
        lines = (f"{number}. {' '.join(text.split())}" for number, text in enumerate(asked, start=1))
        system = prompt_text(self.system).render({}) if self.system else ""
        messages = (Message("system", f"{system}\n\n{MANY}".strip()), Message("user", "\n".join(lines)))

        def parse(completion: Completion) -> list[Any] | Rejection:
            items = numbered_items(completion, len(asked))
            return [
                item if isinstance(item, Rejection) else self._checked(item, prompt)
                for item, prompt in zip(items, asked, strict=True)
            ]

        return Call(self.model, messages, parse, self.params, self.check.budgets())

    def _parse(self, completion: Completion, prompt: str) -> Any | Rejection:
        text = usable_text(completion)
        if isinstance(text, Rejection):
            accepts = {"refusal": self.check.refusal, "truncated": self.check.truncated}
            if accepts.get(text.reason) is not False or is_blank(completion.text):
                return text
            text = completion.text or ""
        value = self._value(text)
        checked = value if isinstance(value, Rejection) else self._checked(text, prompt)
        return checked if isinstance(checked, Rejection) or self.output == "text" else value

    def _value(self, text: str) -> Any | Rejection:
        """Return what stands in the text of an answer in the form that `output` names."""
        match self.output:
            case "json":
                return parse_json(text, self.output_schema)
            case "answer":
                text = before_next_example(text.strip()).rstrip()
                answer = answer_code(text)
                if not answer:
                    return reject("no_answer" if answer is None else "no_code", text, end=True)
                return {"value": answer, "text": text}
            case "code":
                code = code_in(text)
                return {"value": code, "text": text.strip()} if code else reject("no_code", text, end=True)
        return text

    def _checked(self, text: str, prompt: str) -> str | Rejection:
        """Return the text without blanks around it, or the reason why it is not accepted."""
        check, text = self.check, text.strip()
        if check.refusal is not False and is_refusal(text):
            return reject("refusal", text)
        if check.parroted is not False and repeats_request(text, prompt):
            return reject("parroted", text)
        if check.hint_leak is not False and mentions_hint(text, prompt):
            return reject("hint_leak", text)
        if check.words:
            number = len(text.split())
            if number < check.words.least or (check.words.most and number > check.words.most):
                return Rejection("words", f"{number} words")
        if check.pattern and bool(re.search(check.pattern.text, text)) == check.pattern.absent:
            return reject("pattern", text)
        return text

    def _result(self, row: Row, reply: Reply[Any]) -> StepResult:
        value = reply.value
        if isinstance(value, Rejection):
            return StepResult(row, failure=(value.reason, value.detail), reply=reply)
        if self.output in ("answer", "code"):
            return StepResult(row, value["value"], {"text": value["text"]}, reply=reply)
        return StepResult(row, value, reply=reply)
