"""The section `quality` of an experiment: the filters of synthetic rows that exports apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from models.core.experiment.endpoints import Count, StrictModel, Whole

# A description of the rows that each filter marks, in plain words.
FILTERS: Mapping[str, str] = {
    "exact": "has the request and text of an earlier row, but for white space",
    "code": "has the answer of an earlier row, code by syntax tree",
    "near": "is nearly an earlier row: most of its phrases are the same",
    "hint_leak": "mentions the hint that its teacher was given",
    "contamination": "repeats a row of the test split",
    "masked": "is like a row of the test split but for strings, numbers and names of variables",
    "agreement": "too few samples agree with its code",
    "length": "is too short or too long",
    "script": "is not in the letters that it should be in",
}


def _switch(main: str = "") -> Callable[[Any], Any]:
    """Return a validator: `true` is a filter with defaults, `false` none, another value that of the key
    `main`."""

    def read(value: Any) -> Any:
        if isinstance(value, bool):
            return {} if value else None
        return {main: value} if main and isinstance(value, int | float | str) else value

    return read


class Plain(StrictModel):
    """A filter without settings."""


class Near(StrictModel):
    """Near duplicates by MinHash, each checked exactly; a number is the `threshold`."""

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    """smallest share of common phrases of three words (Jaccard)"""


class Contamination(StrictModel):
    """Overlap with the test split: `ngram` words in a row, the whole request, the question, or the code. A
    number is `ngram`."""

    ngram: Annotated[Whole, Field(ge=3, le=50)] = 8
    """words in a row that are the same as in a test row"""
    answers: Annotated[bool, Field(strict=True)] = True
    """whether code is compared by syntax tree, too"""


class Agreement(StrictModel):
    """Agreement in a vote; a number is `least`."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.5
    """smallest share of samples; rows without a vote are not marked"""


class Length(StrictModel):
    """The number of words of a rationale, or of the request if there is none."""

    least: Annotated[Whole, Field(ge=0)] = 3
    """fewest words"""
    most: Count = 400
    """most words"""

    @model_validator(mode="after")
    def _is_a_range(self) -> Length:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self


class Script(StrictModel):
    """The letters of a text; a text is `name`. Replacement and control characters are letters of no
    script."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")] = "latin"
    """a Unicode script, such as `latin`, `cyrillic` or `hangul`"""
    least: Annotated[float, Field(ge=0, le=1)] = 0.9
    """smallest share of its letters"""


class Quality(StrictModel):
    """Filters that `export --only accepted` applies: `true`, or a mapping. Other filters are only counted."""

    exact: Annotated[Plain | None, BeforeValidator(_switch())] = None
    """copies of an earlier row, but for white space and the case of the request"""
    code: Annotated[Plain | None, BeforeValidator(_switch())] = None
    """the answer of an earlier row, code by syntax tree"""
    near: Annotated[Near | None, BeforeValidator(_switch("threshold"))] = None
    """nearly an earlier row"""
    hint_leak: Annotated[Plain | None, BeforeValidator(_switch())] = None
    """mentions its hint"""
    contamination: Annotated[Contamination | None, BeforeValidator(_switch("ngram"))] = None
    """repeats a test row"""
    masked: Annotated[Plain | None, BeforeValidator(_switch())] = None
    """a test row but for literals and names, in its request, its code or both; what is the same to the letter
    is `contamination`"""
    agreement: Annotated[Agreement | None, BeforeValidator(_switch("least"))] = None
    """too few samples agree"""
    length: Annotated[Length | None, BeforeValidator(_switch())] = None
    """too short or too long"""
    script: Annotated[Script | None, BeforeValidator(_switch("name"))] = None
    """other letters than expected"""

    @property
    def heeded(self) -> tuple[str, ...]:
        """Names of the filters that are set."""
        return tuple(name for name in FILTERS if getattr(self, name) is not None)
