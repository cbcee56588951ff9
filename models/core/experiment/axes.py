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
    """Axes of the ablation; `pipeline.grid.cells` multiplies them.

    `retrieval` is false, true (the section `passages`), or the name of one of its alternatives. `exemplars`
    are drawn at random for each test row, fixed for all, the nearest to the request, or fixed and diverse.
    `wrong_rationales` says if wrong rationales are shown, too; without it `rationale.drop_wrong` decides.
    `augment_exemplars` says if exemplars show their requests augmented; without it as `augment_test` does.
    Of several `train_rows` each cell with exemplars has one, and draws them from that many train rows.
    `contrasts` are those that are tested, by default of all axes.
    """

    shots: list[Annotated[Whole, Field(ge=0, le=64)]] = Field([0, 2])
    retrieval: list[Annotated[bool | str, PlainValidator(_retrieval)]] = Field([False, True])
    rationale: list[RationaleSource] = Field(["none", "first_pass", "star"])
    augment_test: list[bool] = Field([False])
    augment_exemplars: list[bool] | None = None
    exemplars: Annotated[list[ExemplarChoice], BeforeValidator(options.as_list)] = Field(["random"])
    seeds: list[Whole] = Field([0])
    wrong_rationales: list[bool] | None = None
    train_rows: list[Count] | None = None
    contrasts: Annotated[Contrasts | None, PlainValidator(read_contrasts)] = None

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
