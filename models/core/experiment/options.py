"""Sections of an experiment, such as `dataset`, `rationale`, `quality` and `report`, and the metrics."""

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
    """A file of train examples for the teacher, or of test examples for the students."""

    file: str
    limit: Count | None = None


class Fields(StrictModel):
    """The keys of a JSONL row. A row without `id` gets its number. `tests` (code or a list of it),
    `entry_point`, `prefix` and `suffix` are optional; they execute answers."""

    request: str = "request"
    reference: str = "reference"
    id: str = "id"
    oracle: str = "oracle"
    tests: str = "tests"
    entry_point: str = "entry_point"
    prefix: str = "prefix"
    suffix: str = "suffix"


class Dataset(StrictModel):
    """The source of examples; only students need `test`. `tests` names ODEX files whose tests go to examples
    with the same request."""

    loader: Literal["jsonl", "docprompting", "odex"] = "jsonl"
    path: str
    train: Annotated[Split, BeforeValidator(_file_or_mapping)]
    test: Annotated[Split, BeforeValidator(_file_or_mapping)] | None = None
    limit: Count | None = None
    fields: Fields = Fields()
    tests: Annotated[list[str], BeforeValidator(as_list)] = Field([])


class AugmentationSeed(StrictModel):
    """A human example of an augmentation."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    augmentation: str


class SeedPassage(StrictModel):
    """Documentation in a human example."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str = ""
    signature: str = ""
    text: str


class RationaleSeed(StrictModel):
    """A human example of a rationale, with `passages` or `documentation` (one text)."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    documentation: str = Field("", validation_alias=AliasChoices("documentation", "retrieval"))
    passages: list[SeedPassage] = Field([])
    rationale: str


class Augment(StrictModel):
    """Augmentations of requests. The experiment file may name a JSONL file of `seeds`; the default are those
    of the task folder.

    `accept` is `requires`, a sentence with "This requires" that says more than the request, or `any` text, as
    in the paper. A request whose augmentation failed goes on as it is (`on_failure: raw`), or its row fails.
    """

    enabled: bool = True
    batch_size: Annotated[Whole, Field(ge=1, le=100)] = 1
    accept: Literal["requires", "any"] = "requires"
    on_failure: Literal["raw", "fail"] = "raw"
    seeds: list[AugmentationSeed] = Field([])
    params: Params = Field({})


class Rationale(StrictModel):
    """Rationales of train examples.

    `samples` first rationales are drawn for each example; of several, a `vote` on their codes elects one
    (self-consistency, Wang et al., 2022). Then follow up to `passes` rationalizations, until `stop_at`
    rationales of the example are right. All of this is repeated in `rounds`, with right rationales of the
    round before as exemplars (STaR, Zelikman et al., 2022).

    `retries` is the number of new calls for an answer without code, answer sentence or end before it counts
    as wrong. `hint` appends the right answer as in the paper, or asks to explain it. With `hint_leaks` a
    rationale that mentions it is `wrong`, or `judged` like any other, as in the paper. `drop_wrong` keeps
    wrong rationales out of the exemplars (the paper shows them). Correctness `execution` means that the tests
    pass; a row without tests is compared by `tree`. `seeds` are like those of `augment`.
    """

    correctness: Literal[Correctness, "execution"] = "strict"
    passes: Annotated[Whole, Field(ge=0, le=MAX_PASSES)] = 1
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 1
    drop_wrong: bool = True
    hint: Literal["paper", "explain"] = "explain"
    hint_leaks: Literal["wrong", "judged"] = "wrong"
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
    """Growth of requests.

    Each train example is the anchor of `samples` calls in each of the `rounds`. A call shows `shown`
    examples, from round 2 on a quarter of them grown ones, and asks for `requests` more. A request is kept if
    it has from `least` to `most` words and a ROUGE-L F below `threshold` to every other request. `enabled`,
    set by the command, makes a run that only grows requests.
    """

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
        """Return the number of grown ones among the examples shown in round `number`, from 1."""
        return 0 if number == 1 else self.shown // 4


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
    """Near duplicates. `threshold` is the smallest share of common phrases of three words (Jaccard)."""

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class Contamination(StrictModel):
    """Overlap with the test split: `ngram` consecutive words of a test row, its whole request, its question,
    or, with `answers`, its code."""

    ngram: Annotated[Whole, Field(ge=3, le=50)] = 8
    answers: Annotated[bool, Field(strict=True)] = True


class Agreement(StrictModel):
    """Agreement in a vote. `least` is the smallest share of samples; rows without a vote are not marked."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.5


class Length(StrictModel):
    """The number of words of a rationale, or of the request if there is none."""

    least: Annotated[Whole, Field(ge=0)] = 3
    most: Count = 400

    @model_validator(mode="after")
    def _is_a_range(self) -> Length:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self


class Script(StrictModel):
    """Writing. `least` is the smallest share of letters of the Unicode script `name` (`latin`, `cyrillic`,
    `hangul`, ...). Replacement and control characters are letters of no script."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")] = "latin"
    least: Annotated[float, Field(ge=0, le=1)] = 0.9


class Quality(StrictModel):
    """Filters that `export --only accepted` applies. Other filters are only counted."""

    exact: Annotated[Plain | None, BeforeValidator(_switch())] = None
    code: Annotated[Plain | None, BeforeValidator(_switch())] = None
    near: Annotated[Near | None, BeforeValidator(_switch("threshold"))] = None
    hint_leak: Annotated[Plain | None, BeforeValidator(_switch())] = None
    contamination: Annotated[Contamination | None, BeforeValidator(_switch("ngram"))] = None
    masked: Annotated[Plain | None, BeforeValidator(_switch())] = None
    agreement: Annotated[Agreement | None, BeforeValidator(_switch("least"))] = None
    length: Annotated[Length | None, BeforeValidator(_switch())] = None
    script: Annotated[Script | None, BeforeValidator(_switch("name"))] = None

    @property
    def heeded(self) -> tuple[str, ...]:
        """Names of the filters that are set."""
        return tuple(name for name in FILTERS if getattr(self, name) is not None)


NO_ORACLE = "no row names its right passages"
# Strata by which reports of `star` part rows, each with what is missing where no row has it.
STRATA: Mapping[str, str] = {
    "library": NO_ORACLE,
    "unseen": NO_ORACLE.replace("row", "test row"),
    "reference_length": "no row has a reference",
    "passage_retrieved": f"no cell retrieves, or {NO_ORACLE}",
}


class ReportSettings(StrictModel):
    """Reports have a table by each of the columns `by` of the data; names may be dotted. Of test rows that
    share an id each counts, or the last one alone; without `repeated_ids` `judge.extraction` decides.
    Intervals and tests keep rows with an equal value of the column `cluster` together."""

    by: Annotated[list[str], BeforeValidator(as_list)] = Field([])
    cluster: str = ""
    repeated_ids: Literal["each", "last"] | None = None


class UnitsPerTask(StrictModel):
    """The largest number of units in one Celery task. Units of one task are claimed, called and finished one
    by one, except searches and judgements."""

    augment: Count = 8
    retrieve: Count = 16
    rationale: Count = 8
    rationalize: Count = 8
    answer: Count = 8
    judge: Count = 64
    grow: Count = 8


Metric = Literal[
    "bleu4", "char_bleu", "exact_match", "parse_rate", "accuracy", "token_f1", "chrf", "normalised_match",
    "tree_match", "command_accuracy",
]  # fmt: skip
DEFAULT_METRICS: tuple[Metric, ...] = ("bleu4", "char_bleu", "exact_match", "parse_rate")
