"""The kind judge: a rule or a model says whether a value is right, or how good it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from models.core.answers.checks import REASONS, reject, usable_text
from models.core.answers.extraction import answer_code
from models.core.answers.json_output import parse_json
from models.core.answers.verdicts import parse_verdict
from models.core.correctness import is_correct, same_answer
from models.core.experiment.endpoints import Name, Params, StrictModel
from models.core.kinds.accepted_answers import Retries
from models.core.kinds.generate import Template
from models.core.kinds.step import (
    Call,
    FileContent,
    Row,
    Services,
    StepResult,
    StepSettings,
    as_text,
    column,
    correct_in,
    part_of,
)
from models.core.prompts.column_values import ExpressionError
from models.core.prompts.expressions import prompt_text
from models.core.types import JSON, Completion, Message, Rejection

JudgeRule = Literal["paper", "strict", "tree", "text", "number", "shell", "execution", "module"]
# Above all scores.
MAX_SCORE = 1e300
_NUMBER = r"(-?\d+(?:\.\d+)?)(?!\w|\.\d|\s*(?:-|\N{EN DASH}|to\b)\s*\d)"
_MARKS = r"[\s:*_`\"']*"
# "Score: 4", "**Score (1 to 5):** 4/5", "a score of 4"; no range such as "score from 1 to 5".
_SCORE = re.compile(
    rf"\bscore\b\W{{0,3}}(?:\([^()\n]*\)\W{{0,3}})?(?:[:=]|\b(?:is|of)\b){_MARKS}{_NUMBER}", re.IGNORECASE
)
_ALONE = re.compile(rf"{_MARKS}{_NUMBER}(?:\s*(?:/|out of)\s*\d+)?{_MARKS}\.?", re.IGNORECASE)


def _as_range(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        return {"least": value[0], "most": value[1]}
    return value


class Score(StrictModel):
    """A score; `[1, 5]` is short for least and most."""

    least: float = 1
    """the lowest score"""
    most: float = 5
    """the highest score"""
    rubric: dict[int, str] = Field({})
    """what some scores mean"""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least >= self.most:
            raise ValueError(f"least {self.least:g} must be below most {self.most:g}")
        for score in self.rubric:
            if not self.least <= score <= self.most:
                raise ValueError(f"rubric {score} is not from {self.least:g} to {self.most:g}")
        return self

    def request(self) -> str:
        """Return the sentences that ask for the score."""
        meanings = [f"{score}: {meaning}" for score, meaning in sorted(self.rubric.items())]
        return "\n".join([
            *meanings,
            f'Answer with JSON: {{"reason": "...", "score": N}}, N being a number from {self.least:g} to '
            f"{self.most:g}.",
        ])  # fmt: skip

    def reply_schema(self) -> JSON:
        score = {"type": "number", "minimum": self.least, "maximum": self.most}
        return {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "score": score},
            "required": ["reason", "score"],
            "additionalProperties": False,
        }

    def parse(self, completion: Completion) -> JSON | Rejection:
        """Return score and reason of an answer: of its JSON object, of the last "Score: N" of a text, or of
        a number alone."""
        text = usable_text(completion)
        if isinstance(text, Rejection):
            return text
        score, reason = _of_object(text) or _of_text(text)
        if score is None:
            return reject("no_score", text)
        if not self.least <= score <= self.most:
            return reject("no_score", f"{score:g} is not from {self.least:g} to {self.most:g}")
        return {"score": int(score) if score.is_integer() else score, "reason": reason}


def _of_object(text: str) -> tuple[float | None, str] | None:
    """Return score and reason of the JSON object in a text; None if it has no object with a score."""
    value = parse_json(text, None)
    named = {name.strip().lower(): each for name, each in value.items()} if isinstance(value, dict) else {}
    if "score" not in named:
        return None
    score = named["score"]
    if isinstance(score, str):
        alone = _ALONE.fullmatch(score)
        score = float(alone[1]) if alone else None
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return (float(min(score, MAX_SCORE)) if is_number else None), as_text(named.get("reason"))


def _of_text(text: str) -> tuple[float | None, str]:
    alone = _ALONE.fullmatch(text)
    scores = [alone[1]] if alone else _SCORE.findall(text)
    return (float(scores[-1]) if scores else None), text.strip()


VERDICT = 'Answer with JSON: {"reason": "...", "correct": true} or {"reason": "...", "correct": false}.'


class JudgeStep(StepSettings):
    """A rule, or a model with a prompt, gives `correct` or `score`, with a `reason`."""

    kind: Literal["judge"] = "judge"
    of: str = ""
    """the column that a rule judges"""
    rule: JudgeRule | None = None
    """how it is compared; `execution` runs it against the row's tests, `module` calls `correct` of
    `task.py`"""
    reference: str = ""
    """the column of right answers; left out: that of the data"""
    model: Name = "judge"
    """the model that is asked, by its name"""
    prompt: Template | Literal[""] = ""
    """what it is asked, or a file of it; in place of a rule"""
    system: Template | Literal[""] = ""
    """the system message, likewise"""
    score: Annotated[Score | None, BeforeValidator(_as_range)] = None
    """asks for a score in place of right or wrong"""
    params: Params = Field({})
    """beside the model's"""
    retries: Retries = 2
    """new calls for a reply without a verdict"""

    units_per_task: ClassVar[int] = 16
    makes: ClassVar[str] = "verdicts"
    files: ClassVar[Mapping[str, FileContent]] = {"prompt": "text", "system": "text"}
    signs: ClassVar[tuple[str, ...]] = ("rule", "score")

    @model_validator(mode="after")
    def _has_a_way(self) -> Self:
        if bool(self.rule) == bool(self.prompt):
            raise ValueError("needs either a rule or a prompt for a model")
        if self.rule and not self.of:
            raise ValueError(f"rule {self.rule} needs the column to judge; set of")
        if self.rule and self.score:
            raise ValueError("a score is given by a model: write a prompt in place of the rule")
        return self

    @property
    def uses_module(self) -> bool:
        return self.rule == "module"

    @property
    def asks(self) -> str:
        return self.model if self.prompt else ""

    @property
    def verdict(self) -> str:
        return "score" if self.score else "correct"

    @property
    def compares_with(self) -> Literal["", "reference", "tests"]:
        if self.rule == "execution":
            return "tests"
        return "reference" if self.rule and not self.reference else ""

    def prompts(self) -> Mapping[str, str]:
        return {"prompt": self.prompt, "system": self.system}

    def reads(self) -> Mapping[str, str]:
        named = {key: getattr(self, key).partition(".")[0] for key in ("of", "reference")}
        return {**super().reads(), **{name: key for key, name in named.items() if name}}

    def parts_read(self) -> Mapping[tuple[str, str], str]:
        return {**super().parts_read(), part_of(self.of): "of", part_of(self.reference): "reference"}

    def parts(self, steps: Mapping[str, StepSettings]) -> frozenset[str] | None:
        has_reason = self.prompt or self.rule == "execution"
        return frozenset({self.verdict, "reason"} if has_reason else {self.verdict})

    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        judge = self._by_model if self.prompt else self._by_rule
        return [await judge(services, row) for row in rows]

    async def _by_rule(self, services: Services, row: Row) -> StepResult:
        answer = as_text(column(row.columns, self.of))
        if self.rule == "execution":
            if row.tests is None:
                return StepResult(row, failure=("no_tests", "the row has no tests"))
            passed, outcome = await services.passes_tests(row, answer)
            return StepResult(row, {"correct": passed, "reason": outcome})
        reference = as_text(column(row.columns, self.reference)) if self.reference else row.reference
        if not reference.strip():
            of = f"column {self.reference} is empty" if self.reference else "set reference to a column"
            return StepResult(row, failure=("no_reference", f"the row has no reference: {of}"))
        if self.rule == "module":
            return StepResult(row, {"correct": await services.decide(answer, reference)})
        assert self.rule
        # Of a rationale what follows "The answer is" counts.
        compare = is_correct if self.rule == "paper" or answer_code(answer) is not None else same_answer
        return StepResult(row, {"correct": compare(self.rule, answer, reference)})

    async def _by_model(self, services: Services, row: Row) -> StepResult:
        request, parse = (self.score.request(), self.score.parse) if self.score else (VERDICT, _verdict)
        try:
            asked = prompt_text(self.prompt).render(row.columns)
            system = prompt_text(self.system).render(row.columns) if self.system else ""
        except ExpressionError as error:
            return StepResult(row, failure=("prompt", f"prompt: {error}"))
        messages = [Message("system", system)] if system else []
        messages.append(Message("user", f"{asked.rstrip()}\n\n{request}"))
        schema = self.score.reply_schema() if self.score else None
        call = Call(
            self.model, tuple(messages), parse, self.params, dict.fromkeys(REASONS, self.retries), schema
        )
        reply = await services.ask(row, call)
        if isinstance(reply.value, Rejection):
            return StepResult(row, failure=(reply.value.reason, reply.value.detail), reply=reply)
        return StepResult(row, reply.value, reply=reply)

    def numbers(self, result: Mapping[str, Any]) -> Mapping[str, float]:
        value = result.get("value")
        score = value.get("score") if isinstance(value, Mapping) else None
        return {} if score is None else {"score": score}

    def is_right(self, result: Mapping[str, Any]) -> bool | None:
        return correct_in(result)


def _verdict(completion: Completion) -> JSON | Rejection:
    correct = parse_verdict(completion)
    if isinstance(correct, Rejection):
        return correct
    text = completion.text or ""
    value = parse_json(text, None)
    reason = as_text(value.get("reason")) if isinstance(value, dict) else text.strip()
    return {"correct": correct, "reason": reason}
