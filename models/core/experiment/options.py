"""Where examples come from, as an experiment names it.

What the teacher is asked to write, and the human seeds it follows: augmentations and rationales.

The section `grow` of an experiment.

The section `quality` of an experiment: which filters exports heed, and where they draw the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, model_validator

from models.core.correctness import Correctness
from models.core.experiment.endpoints import Count, Params, StrictModel, Whole
from models.core.pipeline.rounds import MAX_PASSES, MAX_ROUNDS


def _file_or_mapping(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Split(StrictModel):
    """Train examples feed the teacher, test examples judge the students."""

    file: str
    limit: Count | None = None


class Fields(StrictModel):
    """Which key of a JSONL row holds what. `id` may be absent from a row; its number stands in. So may
    `tests` (code, or a list of it), `entry_point`, `prefix` and `suffix`, by which answers are executed."""

    request: str = "request"
    reference: str = "reference"
    id: str = "id"
    oracle: str = "oracle"
    tests: str = "tests"
    entry_point: str = "entry_point"
    prefix: str = "prefix"
    suffix: str = "suffix"


class Dataset(StrictModel):
    """`tests` names ODEX files whose rows give their tests to the examples with the same request."""

    loader: Literal["jsonl", "docprompting", "odex"] = "jsonl"
    path: str
    train: Annotated[Split, BeforeValidator(_file_or_mapping)]
    test: Annotated[Split, BeforeValidator(_file_or_mapping)]
    limit: Count | None = None
    fields: Fields = Fields()
    tests: Annotated[list[str], BeforeValidator(as_list)] = Field([])


class AugmentationSeed(StrictModel):
    """A human example of an augmentation."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    augmentation: str


class SeedPassage(StrictModel):
    """Documentation that a human example shows."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str = ""
    signature: str = ""
    text: str


class RationaleSeed(StrictModel):
    """A human example of a rationale; what was retrieved are `passages`, or `documentation`, one text."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    documentation: str = Field("", validation_alias=AliasChoices("documentation", "retrieval"))
    passages: list[SeedPassage] = Field([])
    rationale: str


class Augment(StrictModel):
    """`seeds` may name a JSONL file in the experiment file; without, those of the task folder are used."""

    enabled: bool = True
    batch_size: Annotated[Whole, Field(ge=1, le=100)] = 1
    seeds: list[AugmentationSeed] = Field([])
    params: Params = Field({})


class Rationale(StrictModel):
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
    passes: Annotated[Whole, Field(ge=0, le=MAX_PASSES)] = 1
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 1
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


class Grow(StrictModel):
    """Each train example is the anchor of `samples` calls in each of the `rounds`. A call shows `shown`
    examples, from round 2 on a quarter of them grown ones, and asks for `requests` more. Kept is what has
    from `least` to `most` words and a ROUGE-L F below `threshold` to every request there is. `enabled` makes
    a run one of growth and of nothing else; the command sets it."""

    enabled: Annotated[bool, Field(strict=True)] = False
    shown: Annotated[Whole, Field(ge=1, le=64)] = 8
    requests: Annotated[Whole, Field(ge=1, le=100)] = 4
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 1
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


class Plain(StrictModel):
    """A filter without settings."""


class Near(StrictModel):
    """`threshold` is the share of phrases of three words (Jaccard) from which two rows are nearly one."""

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class Contamination(StrictModel):
    """`ngram` words in a row that a test row has, too, mark a train row; as does the whole request of a
    test row, or its question; or, with `answers`, its code."""

    ngram: Annotated[Whole, Field(ge=3, le=50)] = 8
    answers: Annotated[bool, Field(strict=True)] = True


class Agreement(StrictModel):
    """`least` is the share of samples that must agree; only rows that were voted on are marked."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.5


class Length(StrictModel):
    """Words of a rationale, or of a request where there is none."""

    least: Annotated[Whole, Field(ge=0)] = 3
    most: Count = 400

    @model_validator(mode="after")
    def _is_a_range(self) -> Length:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self


class Script(StrictModel):
    """`least` is the share of letters that belong to the script `name`, as Unicode names it (`latin`,
    `cyrillic`, `hangul`, ...). Replacement and control characters are letters of none."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")] = "latin"
    least: Annotated[float, Field(ge=0, le=1)] = 0.9


class Quality(StrictModel):
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


Metric = Literal[
    "bleu4", "char_bleu", "exact_match", "parse_rate", "accuracy", "token_f1", "chrf", "normalised_match",
    "tree_match",
]  # fmt: skip
DEFAULT_METRICS: tuple[Metric, ...] = ("bleu4", "char_bleu", "exact_match", "parse_rate")
