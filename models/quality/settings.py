"""The section `quality` of an experiment: which filters exports heed, and where they draw the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from models.endpoints import Count, Section, Whole

# What each filter says of a row that it marks, for people.
FILTERS: Mapping[str, str] = {
    "exact": "has the request and text of an earlier row, but for white space",
    "code": "has the answer of an earlier row, code by syntax tree",
    "near": "is nearly an earlier row: most of its phrases are the same",
    "hint_leak": "mentions the hint that its teacher was given",
    "contamination": "repeats a row of the test split",
    "agreement": "too few samples agree with its code",
    "length": "is too short or too long",
    "script": "is not in the letters that it should be in",
}


def _switch(main: str = "") -> Callable[[Any], Any]:
    """`true` is a filter with its defaults, `false` none; another value is that of the key `main`."""

    def read(value: Any) -> Any:
        if isinstance(value, bool):
            return {} if value else None
        return {main: value} if main and isinstance(value, int | float | str) else value

    return read


class Plain(Section):
    """A filter without settings."""


class Near(Section):
    """`threshold` is the share of phrases of three words (Jaccard) from which two rows are nearly one."""

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class Contamination(Section):
    """`ngram` words in a row that a test row has, too, mark a train row; as does the whole request of a
    test row, or its question; or, with `answers`, its code."""

    ngram: Annotated[Whole, Field(ge=3, le=50)] = 8
    answers: Annotated[bool, Field(strict=True)] = True


class Agreement(Section):
    """`least` is the share of samples that must agree; only rows that were voted on are marked."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.5


class Length(Section):
    """Words of a rationale, or of a request where there is none."""

    least: Annotated[Whole, Field(ge=0)] = 3
    most: Count = 400

    @model_validator(mode="after")
    def _is_a_range(self) -> Length:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self


class Script(Section):
    """`least` is the share of letters that belong to the script `name`, as Unicode names it (`latin`,
    `cyrillic`, `hangul`, ...). Replacement and control characters are letters of none."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")] = "latin"
    least: Annotated[float, Field(ge=0, le=1)] = 0.9


class Quality(Section):
    """Filters that `export --only accepted` heeds; a filter that is not named is counted, not heeded."""

    exact: Annotated[Plain | None, BeforeValidator(_switch())] = None
    code: Annotated[Plain | None, BeforeValidator(_switch())] = None
    near: Annotated[Near | None, BeforeValidator(_switch("threshold"))] = None
    hint_leak: Annotated[Plain | None, BeforeValidator(_switch())] = None
    contamination: Annotated[Contamination | None, BeforeValidator(_switch("ngram"))] = None
    agreement: Annotated[Agreement | None, BeforeValidator(_switch("least"))] = None
    length: Annotated[Length | None, BeforeValidator(_switch())] = None
    script: Annotated[Script | None, BeforeValidator(_switch("name"))] = None

    @property
    def heeded(self) -> tuple[str, ...]:
        """Names of the filters that are set."""
        return tuple(name for name in FILTERS if getattr(self, name) is not None)
