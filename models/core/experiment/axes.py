"""The axes of the ablation, from which its cells are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from models.core.experiment import options
from models.core.experiment.endpoints import Count, StrictModel, Whole
from models.core.experiment.families import Contrasts, contrasts_of_axes, read_contrasts

RationaleSource = Literal["none", "first_pass", "star"]
ExemplarChoice = Literal["random", "fixed", "nearest", "diverse"]


def unique(values: list[Any] | None) -> list[Any] | None:
    """Return the values. Raise ValueError if there is none, or one twice."""
    if values is None:
        return None
    if not values:
        raise ValueError("needs at least one value")
    if len({repr(value) for value in values}) != len(values):
        raise ValueError("names a value twice")
    return values


def _retrieval(value: Any) -> Any:
    if isinstance(value, bool | str):
        return value
    raise ValueError("takes false, true, or a name from passages.alternatives")


class Grid(StrictModel):
    """The axes of the ablation, which are multiplied. Each combination is a cell for each student."""

    shots: list[Annotated[Whole, Field(ge=0, le=64)]] = Field([0, 2])
    """worked examples that are shown"""
    retrieval: list[Annotated[bool | str, PlainValidator(_retrieval)]] = Field([False, True])
    """documentation: `false`, `true` (the section `passages`), or names of `passages.alternatives`"""
    rationale: list[RationaleSource] = Field(["none", "first_pass", "star"])
    """what the examples show: answers alone, first rationales, or those that STaR repaired, too"""
    augment_test: list[bool] = Field([False])
    """whether test requests are augmented"""
    augment_exemplars: list[bool] | None = None
    """whether requests of worked examples are augmented; left out: as `augment_test`"""
    exemplars: Annotated[list[ExemplarChoice], BeforeValidator(options.as_list)] = Field(["random"])
    """how examples are chosen: at random for each row, fixed for a seed, nearest to the request, or a fixed
    set that covers the train requests (greedy k-means++)"""
    seeds: list[Whole] = Field([0])
    """seeds of draws and answers; scores are means over them"""
    wrong_rationales: list[bool] | None = None
    """whether wrong rationales are shown, too; left out: `rationale.drop_wrong` decides"""
    train_rows: list[Count] | None = None
    """sizes of the train split from which examples are drawn, for a learning curve; refused beside a search
    that learns from all of it"""
    contrasts: Annotated[Contrasts | None, PlainValidator(read_contrasts)] = None
    """what is tested: axes, pairs of an axis such as `rationale: [first_pass, star]`, or `explore`; left out:
    all"""

    _axes = field_validator(
        "shots", "retrieval", "rationale", "augment_test", "augment_exemplars", "exemplars", "seeds",
        "wrong_rationales", "train_rows",
    )(unique)  # fmt: skip
    _contrasts = field_validator("contrasts")(contrasts_of_axes)

    @model_validator(mode="after")
    def _has_a_cell(self) -> Self:
        if max(self.shots) == 0 and "none" not in self.rationale:
            raise ValueError("rationales are shown in exemplars: shots 0 allows only rationale none")
        return self
