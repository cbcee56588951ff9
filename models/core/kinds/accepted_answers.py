"""The section `check` of a step: which answers are accepted, and how many new calls a row is worth."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.core.experiment.endpoints import Count, StrictModel, Whole

Retries = Annotated[Whole, Field(ge=0, le=20)]


class Words(StrictModel):
    """The number of words of an answer."""

    least: Annotated[Whole, Field(ge=0)] = 0
    """fewest words"""
    most: Count | None = None
    """most words"""
    retries: Retries = 2
    """new calls for a row"""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.most and self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}; no answer has such a length")
        return self


class Pattern(StrictModel):
    """A regular expression that is found in an answer, or is not."""

    text: str
    """the expression"""
    absent: Annotated[bool, Field(strict=True)] = False
    """whether it must not be found"""
    retries: Retries = 2
    """new calls for a row"""

    @model_validator(mode="after")
    def _is_an_expression(self) -> Self:
        try:
            re.compile(self.text)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return self


class Check(StrictModel):
    """Answers that are not accepted: new calls for a row before it fails, by reason."""

    unusable: Retries = 3
    """nothing came, or no text"""
    refusal: Retries | Literal[False] = 3
    """the model declines; `false` accepts it"""
    truncated: Retries | Literal[False] = 2
    """cut off at the token limit; `false` accepts it"""
    format: Retries = 2
    """JSON, schema, code or answer sentence are missing"""
    parroted: Retries | Literal[False] = False
    """repeats the prompt"""
    hint_leak: Retries | Literal[False] = False
    """mentions the hint that the prompt gives"""
    words: Words | None = None
    """bounds of its words"""
    pattern: Pattern | None = None
    """an expression that it must match"""

    def budgets(self) -> dict[str, int]:
        """Return the number of new calls by the reason of a rejection."""
        return {
            **dict.fromkeys(("null", "empty", "html", "malformed"), self.unusable),
            "refusal": self.refusal or 0,
            "truncated": self.truncated or 0,
            **dict.fromkeys(("no_json", "schema", "no_answer", "no_code"), self.format),
            "parroted": self.parroted or 0,
            "hint_leak": self.hint_leak or 0,
            "words": self.words.retries if self.words else 0,
            "pattern": self.pattern.retries if self.pattern else 0,
        }
