"""The section `grow` of an experiment."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.endpoints import Count, Params, Section, Whole
from models.rounds import MOST_ROUNDS


class Grow(Section):
    """Each train example is the anchor of `samples` calls in each of the `rounds`. A call shows `shown`
    examples, from round 2 on a quarter of them grown ones, and asks for `requests` more. Kept is what has
    from `least` to `most` words and a ROUGE-L F below `threshold` to every request there is. `enabled` makes
    a run one of growth and of nothing else; the command sets it."""

    enabled: Annotated[bool, Field(strict=True)] = False
    shown: Annotated[Whole, Field(ge=1, le=64)] = 8
    requests: Annotated[Whole, Field(ge=1, le=100)] = 4
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    rounds: Annotated[Whole, Field(ge=1, le=MOST_ROUNDS)] = 1
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    least: Count = 3
    most: Count = 150
    params: Params = Field({})

    @model_validator(mode="after")
    def _some_length_is_allowed(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}; no request has such a length")
        return self

    def grown_shown(self, number: int) -> int:
        """How many of the examples shown in round `number`, from 1, are grown ones, if there are any."""
        return 0 if number == 1 else self.shown // 4
