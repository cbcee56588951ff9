"""What the teacher is asked to write, and the human seeds it follows: augmentations and rationales."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from models.endpoints import Count, Params, Section, Whole
from models.judges import Correctness
from models.rounds import MOST_PASSES, MOST_ROUNDS


class AugmentationSeed(Section):
    """A human example of an augmentation."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    augmentation: str


class SeedPassage(Section):
    """Documentation that a human example shows."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str = ""
    signature: str = ""
    text: str


class RationaleSeed(Section):
    """A human example of a rationale; what was retrieved are `passages`, or `documentation`, one text."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    documentation: str = Field("", validation_alias=AliasChoices("documentation", "retrieval"))
    passages: list[SeedPassage] = Field([])
    rationale: str


class Augment(Section):
    """`seeds` may name a JSONL file in the experiment file; without, those of the task folder are used."""

    enabled: bool = True
    batch_size: Annotated[Whole, Field(ge=1, le=100)] = 1
    seeds: list[AugmentationSeed] = Field([])
    params: Params = Field({})


class Rationale(Section):
    """`passes` is the number of rationalizations; `retries` how often an answer without
    code, answer sentence or end is asked for again before it counts as wrong. `hint` is how the
    right answer is given away: appended as in the paper, or by asking why it is right. `drop_wrong`
    keeps wrong rationales out of the exemplars (the paper shows them). `seeds` is like augment's.
    `samples` first rationales are drawn for each example, and where there is more than one the `vote`
    chooses between their codes (self-consistency, Wang et al., 2022). An example goes on through its
    passes until `stop_at` of its rationales are right. All this is done in each of the `rounds`, with right
    rationales of the round before as exemplars (STaR, Zelikman et al., 2022). Correctness `execution` means
    that the tests pass; a row without tests is compared by `tree`."""

    correctness: Literal[Correctness, "execution"] = "strict"
    passes: Annotated[Whole, Field(ge=0, le=MOST_PASSES)] = 1
    rounds: Annotated[Whole, Field(ge=1, le=MOST_ROUNDS)] = 1
    drop_wrong: bool = True
    hint: Literal["paper", "explain"] = "explain"
    retries: Annotated[Whole, Field(ge=0, le=10)] = 1
    exemplars: Annotated[Whole, Field(ge=0, le=16)] = 2
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    vote: Literal["majority"] = "majority"
    stop_at: Count = 1
    seeds: list[RationaleSeed] = Field([])
    params: Params = Field({})

    @model_validator(mode="after")
    def _has_passes_enough(self) -> Self:
        if self.stop_at > self.passes + 1:
            raise ValueError(f"stop_at {self.stop_at} needs at least {self.stop_at - 1} passes")
        return self
