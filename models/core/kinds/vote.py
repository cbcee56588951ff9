"""The kind vote: of several values one is chosen, by majority or by the best score.

Majority is self-consistency (Wang et al., 2022). The best score makes best-of-n, `least` rejection sampling;
the value with the lowest score is kept beside it, for pairs of chosen and rejected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from models.core.correctness import form_of, majority
from models.core.kinds.step import (
    Row,
    SampledValues,
    Services,
    StepResult,
    StepSettings,
    as_text,
    column,
    part_of,
)
from models.core.prompts.column_values import WithFields, is_null

MAJORITY = "majority"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class VoteStep(StepSettings):
    """Chooses one of the values of columns, of all their samples. Null does not stand; of equal ones the
    first wins. The result has `agreement`, or `score` and the `rejected` value with its `rejected_score`."""

    kind: Literal["vote"] = "vote"
    of: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
    """the columns"""
    by: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)] = Field([MAJORITY])
    """`majority`, or columns of scores: one for all, or one for each"""
    rule: Literal["tree", "shell", "text", "number", "strict"] = "text"
    """which values of a majority are the same"""
    keep: Literal["best", "all"] = "best"
    """the best value, or the list of all"""
    least: float | None = None
    """the least score, or share of votes; a winner below it is null"""

    units_per_task: ClassVar[int] = 64
    gathers: ClassVar[bool] = True
    makes: ClassVar[str] = "choices"
    word_for_right: ClassVar[str] = "accepted"
    signs: ClassVar[tuple[str, ...]] = ("by", "of")

    @field_validator("by")
    @classmethod
    def _goes_with_of(cls, by: list[str], info: Any) -> list[str]:
        of = info.data.get("of")
        if of and len(by) not in (1, len(of)):
            raise ValueError(f"names {len(by)} scores for {len(of)} columns; give one, or one for each")
        return by

    @model_validator(mode="after")
    def _has_a_bound_that_counts(self) -> Self:
        if self.least is not None and self.keep == "all":
            raise ValueError("least bounds the best value; leave it out, or keep: all")
        if self.least is not None and not self.scores and not 0 <= self.least <= 1:
            raise ValueError(f"least {self.least:g} is no share of votes, from 0 to 1; for a score set by")
        return self

    @property
    def shares_work(self) -> bool:
        return True

    @property
    def scores(self) -> list[str]:
        """The columns of scores; empty for a majority."""
        return [] if self.by == [MAJORITY] else self.by

    @property
    def compares(self) -> Sequence[str]:
        return self.of if self.scores and self.keep == "best" else ()

    @property
    def exported(self) -> Sequence[str]:
        if self.keep == "all":
            return ()
        return ("score",) if self.scores else ("agreement",)

    def numbers(self, result: Mapping[str, Any]) -> Mapping[str, float]:
        return {name: result[name] for name in ("score", "agreement") if name in result}

    def is_right(self, result: Mapping[str, Any]) -> bool | None:
        # Without a bound every winner is accepted, which says nothing of it.
        return result.get("accepted") if self.least is not None else None

    def reads(self) -> Mapping[str, str]:
        return {
            **super().reads(),
            **{name.partition(".")[0]: "by" for name in self.scores},
            **{name.partition(".")[0]: "of" for name in self.of},
        }

    def parts_read(self) -> Mapping[tuple[str, str], str]:
        named = {"by": self.scores, "of": self.of}
        return {
            **super().parts_read(),
            **{part_of(each): key for key, names in named.items() for each in names},
        }

    def parts(self, steps: Mapping[str, StepSettings]) -> frozenset[str] | None:
        if self.keep == "all":
            return frozenset()
        parts = {"accepted", *(("score", "rejected", "rejected_score") if self.scores else ("agreement",))}
        for name in self.of:
            own = steps[name].parts(steps) if name in steps else None
            if own is None:
                return None
            parts |= own
        return frozenset(parts)

    async def execute(self, services: Services, rows: Sequence[Row]) -> list[StepResult]:
        return [self._choose(row) for row in rows]

    def _choose(self, row: Row) -> StepResult:
        standing = [
            (value, self._score(row, index, sample))
            for index, name in enumerate(self.of)
            for sample, value in enumerate(samples(row, name))
            if not is_null(value)
        ]
        if not standing:
            return StepResult(row, failure=("no_samples", f"no value of {', '.join(self.of)} is there"))
        if self.keep == "all":
            return StepResult(row, [value for value, _ in standing])
        return self._by_majority(row, standing) if self.by == [MAJORITY] else self._by_score(row, standing)

    def _score(self, row: Row, index: int, sample: int) -> Any:
        if self.by == [MAJORITY]:
            return None
        scores = samples(row, self.by[min(index, len(self.by) - 1)])
        return scores[sample] if sample < len(scores) else scores[-1]

    def _by_majority(self, row: Row, standing: list[tuple[Any, Any]]) -> StepResult:
        vote = majority([as_text(value) for value, _ in standing], form_of(self.rule))
        agreement = vote.winner / vote.samples
        accepted = self.least is None or agreement >= self.least
        return _chosen(row, standing[vote.index][0], {"agreement": agreement, "accepted": accepted})

    def _by_score(self, row: Row, standing: list[tuple[Any, Any]]) -> StepResult:
        numbers = [(value, as_number(score)) for value, score in standing]
        scored = [(value, score) for value, score in numbers if score is not None]
        if not scored:
            return StepResult(row, failure=("no_score", f"no value of {', '.join(self.by)} is a number"))
        best = max(range(len(scored)), key=lambda index: scored[index][1])
        worst = min(range(len(scored)), key=lambda index: (scored[index][1], -index))
        chosen, score = scored[best]
        rejected, rejected_score = scored[worst]
        fields = {"score": score, "accepted": self.least is None or score >= self.least}
        if rejected_score < score:
            fields |= {"rejected": rejected, "rejected_score": rejected_score}
        return _chosen(row, chosen, fields)


def _chosen(row: Row, value: Any, fields: Mapping[str, Any]) -> StepResult:
    """Return the end of a vote. A value that is accepted keeps its own fields, such as the text around it."""
    if not fields["accepted"]:
        return StepResult(row, None, fields)
    own = value.fields if isinstance(value, WithFields) else {}
    return StepResult(row, value, {**own, **fields})


def samples(row: Row, name: str) -> list[Any]:
    """Return the values of a dotted name, one for each sample."""
    first, _, rest = name.partition(".")
    value = row.columns.get(first)
    values = value if isinstance(value, SampledValues) else [value]
    return [column({first: each}, name) if rest else each for each in values]


def as_number(score: Any) -> float | None:
    """Return a score, right being 1 and wrong 0, or None if it is none. A CSV file has numbers as texts."""
    try:
        number = float(score) if isinstance(score, bool | int | float | str) else math.nan
    except (OverflowError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number
