"""Sections of an experiment, such as `dataset`, `rationale`, `grow` and `report`, and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
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
    """A file of train or of test rows; a text is the `file`."""

    file: str
    """the file, in `dataset.path`"""
    limit: Count | None = None
    """rows that are read"""


class Fields(StrictModel):
    """The keys of a JSONL row. A row without `id` gets its number."""

    request: str = "request"
    """the request"""
    reference: str = "reference"
    """the right answer"""
    id: str = "id"
    """the id"""
    oracle: str = "oracle"
    """ids of the right passages"""
    tests: str = "tests"
    """tests of the answer: code, or a list of it"""
    entry_point: str = "entry_point"
    """the function that tests call"""
    prefix: str = "prefix"
    """code before the answer"""
    suffix: str = "suffix"
    """code after the answer"""


class Dataset(StrictModel):
    """Files of train and test rows. Only students need `test`."""

    loader: Literal["jsonl", "docprompting", "odex"] = "jsonl"
    """the format of the files: JSON lines, DocPrompting's JSON, or ODEX"""
    path: str
    """the folder, seen from the experiment file"""
    train: Annotated[Split, BeforeValidator(_file_or_mapping)]
    """the train rows, for the teacher"""
    test: Annotated[Split, BeforeValidator(_file_or_mapping)] | None = None
    """the test rows, for students"""
    limit: Count | None = None
    """rows of each split that are read"""
    fields: Fields = Fields()
    """the keys of a row of `jsonl`"""
    tests: Annotated[list[str], BeforeValidator(as_list)] = Field([])
    """ODEX files that give their tests to rows with the same request"""


class AugmentationSeed(StrictModel):
    """A human example of an augmentation, a line of the file `seeds`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    """the request"""
    augmentation: str
    """what it requires"""


class SeedPassage(StrictModel):
    """Documentation in a human example."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str = ""
    """the name of a function"""
    signature: str = ""
    """its arguments"""
    text: str
    """what it does"""


class RationaleSeed(StrictModel):
    """A human example of a rationale, a line of the file `seeds`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    request: str = Field(validation_alias=AliasChoices("request", "query"))
    """the request"""
    documentation: str = Field("", validation_alias=AliasChoices("documentation", "retrieval"))
    """the documentation as one text"""
    passages: list[SeedPassage] = Field([])
    """the documentation as passages"""
    rationale: str
    """the reasoning, up to the answer"""


class Augment(StrictModel):
    """The augmentation of requests. Without a template or a teacher there is none."""

    enabled: bool = True
    """whether requests are augmented"""
    batch_size: Annotated[Whole, Field(ge=1, le=100)] = 1
    """requests in one call"""
    accept: Literal["requires", "any"] = "requires"
    """`requires`: a sentence with "This requires" that says more than the request; `any`: what comes"""
    on_failure: Literal["raw", "fail"] = "raw"
    """`raw` goes on with the request as it is, and counts it; `fail` gives the row up"""
    seeds: list[AugmentationSeed] = Field([])
    """human examples, or a JSONL file of them; left out: the task folder's"""
    params: Params = Field({})
    """beside the teacher's; `max_tokens` is that of a call, the teacher's that of a request"""


class Rationale(StrictModel):
    """Rationales of train rows: `samples`, a vote, then passes with a hint (STaR, Zelikman et al., 2022)."""

    correctness: Literal[Correctness, "execution"] = "strict"
    """the rule by which a rationale is right; `execution` asks the tests, or `tree` for rows without"""
    passes: Annotated[Whole, Field(ge=0, le=MAX_PASSES)] = 1
    """tries with the right answer as a hint"""
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 1
    """rounds in which every row is reasoned about anew, with right rationales of the round before as
    examples"""
    drop_wrong: bool = True
    """shows no wrong rationale to students; the paper shows them"""
    hint: Literal["paper", "explain"] = "explain"
    """`paper` appends the right answer to the request; `explain` asks why it is right"""
    hint_leaks: Literal["wrong", "judged"] = "wrong"
    """a rationale that mentions its hint is `wrong`, or `judged` like any other, as in the paper"""
    retries: Annotated[Whole, Field(ge=0, le=10)] = 1
    """new calls for an answer without code, answer sentence or end, before it counts as wrong"""
    exemplars: Annotated[Whole, Field(ge=0, le=16)] = 2
    """human examples that the teacher is shown"""
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    """first rationales of each row; each raises `params.seed`, if that is set"""
    vote: Literal["majority"] = "majority"
    """how one sample is chosen: the first whose code most agree on (Wang et al., 2022)"""
    stop_at: Count = 1
    """right rationales after which a row is done, at most `passes` + 1"""
    seeds: list[RationaleSeed] = Field([])
    """human examples, or a JSONL file of them; left out: the task folder's"""
    params: Params = Field({})
    """beside the teacher's"""

    @model_validator(mode="after")
    def _has_passes_enough(self) -> Self:
        if self.stop_at > self.passes + 1:
            raise ValueError(f"stop_at {self.stop_at} needs at least {self.stop_at - 1} passes")
        return self


class Grow(StrictModel):
    """New requests that the teacher writes from train rows (Self-Instruct, Wang et al., 2023)."""

    enabled: Annotated[bool, Field(strict=True)] = False
    """set by `starmill data grow`"""
    shown: Annotated[Whole, Field(ge=1, le=64)] = 8
    """examples in a prompt: the call's own row and others drawn by `seed`; from round 2 a quarter are grown
    ones"""
    requests: Annotated[Whole, Field(ge=1, le=100)] = 4
    """pairs of request and answer that a call asks for"""
    samples: Annotated[Whole, Field(ge=1, le=64)] = 1
    """calls for each train row in a round"""
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 1
    """rounds, each of which begins when the one before is final"""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """ROUGE-L F from which two requests count as the same"""
    least: Count = 3
    """fewest words of a request"""
    most: Count = 150
    """most words of a request"""
    params: Params = Field({})
    """beside the teacher's"""

    @model_validator(mode="after")
    def _some_length_is_allowed(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}; no request has such a length")
        return self

    def grown_shown(self, number: int) -> int:
        """Return the number of grown ones among the examples shown in round `number`, from 1."""
        return 0 if number == 1 else self.shown // 4


NO_ORACLE = "no row names its right passages"
# Strata by which reports of `star` part rows, each with what is missing where no row has it.
STRATA: Mapping[str, str] = {
    "library": NO_ORACLE,
    "unseen": NO_ORACLE.replace("row", "test row"),
    "reference_length": "no row has a reference",
    "passage_retrieved": f"no cell retrieves, or {NO_ORACLE}",
}


class ReportSettings(StrictModel):
    """The tables of a report."""

    by: Annotated[list[str], BeforeValidator(as_list)] = Field([])
    """columns of the data that have a table each, of their 50 most frequent values; names may be dotted"""
    cluster: str = ""
    """the column whose equal values make rows one question, for intervals and tests; one that no row has is
    refused"""
    repeated_ids: Literal["each", "last"] | None = None
    """test rows that share an id: `each` has a score, or the `last` alone, as in the paper; left out: `last`
    for extraction `paper`"""


class UnitsPerTask(StrictModel):
    """The most units that one Celery task carries, by stage."""

    augment: Count = 8
    """augmentations"""
    retrieve: Count = 16
    """searches"""
    rationale: Count = 8
    """first rationales"""
    rationalize: Count = 8
    """rationales with a hint"""
    answer: Count = 8
    """answers of students"""
    judge: Count = 64
    """verdicts"""
    grow: Count = 8
    """calls of growth"""


Metric = Literal[
    "bleu4", "char_bleu", "exact_match", "parse_rate", "accuracy", "token_f1", "chrf", "normalised_match",
    "tree_match", "command_accuracy",
]  # fmt: skip
# A description of each, in plain words.
METRICS: Mapping[Metric, str] = {
    "bleu4": "BLEU-4 of the corpus, without smoothing",
    "char_bleu": "BLEU over characters (sacrebleu)",
    "exact_match": "the share of answers that equal the reference",
    "parse_rate": "the share of answers that are Python; an empty one is not",
    "accuracy": "the share of answers that are right by `judge.correctness`",
    "token_f1": "F1 over words",
    "chrf": "chrF over characters (sacrebleu)",
    "normalised_match": "the share that is equal but for white space",
    "tree_match": "the share that is equal as syntax tree",
    "command_accuracy": "the share that calls the right program of a shell, whatever its arguments",
}
DEFAULT_METRICS: tuple[Metric, ...] = ("bleu4", "char_bleu", "exact_match", "parse_rate")
