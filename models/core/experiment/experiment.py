"""The experiment: all settings that change results, validated before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.core.answers.extraction import Extraction
from models.core.correctness import Correctness
from models.core.experiment import options
from models.core.experiment.endpoints import Count, JudgeModel, Name, StrictModel, Student, Teacher, Whole
from models.core.experiment.passages import Passages
from models.core.experiment.task_folder import TaskFolder
from models.core.programs import ProgramLimits

RationaleSource = Literal["none", "first_pass", "star"]
ExemplarChoice = Literal["random", "fixed", "nearest", "diverse"]
# Keeps names of cells within the 128 characters of the ledger's column.
LONGEST_NAME = 56


def _backend_or_mapping(value: Any) -> Any:
    return {"backend": value} if isinstance(value, str) else value


def _unique(values: list[Any]) -> list[Any]:
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
    """

    shots: list[Annotated[Whole, Field(ge=0, le=64)]] = Field([0, 2])
    retrieval: list[Annotated[bool | str, PlainValidator(_retrieval)]] = Field([False, True])
    rationale: list[RationaleSource] = Field(["none", "first_pass", "star"])
    augment_test: list[bool] = Field([False])
    exemplars: Annotated[list[ExemplarChoice], BeforeValidator(options.as_list)] = Field(["random"])
    seeds: list[Whole] = Field([0])

    _axes = field_validator("shots", "retrieval", "rationale", "augment_test", "exemplars", "seeds")(_unique)

    @model_validator(mode="after")
    def _has_a_cell(self) -> Self:
        if max(self.shots) == 0 and "none" not in self.rationale:
            raise ValueError("rationales are shown in exemplars: shots 0 allows only rationale none")
        return self


class Judge(StrictModel):
    """The judgement of students' answers.

    `execution` runs answers against the tests of their rows, each program within `limits`. The rule
    `correctness` decides the metric `accuracy`. Reports show `metrics`. `model` gives the verdicts of
    correctness `model`, here and for rationales.
    """

    extraction: Extraction = "strict"
    correctness: Correctness | None = None
    metrics: list[options.Metric] = Field(list(options.DEFAULT_METRICS))
    model: Annotated[JudgeModel, BeforeValidator(_backend_or_mapping)] | None = None
    execution: Annotated[bool, Field(strict=True)] = False
    limits: ProgramLimits = ProgramLimits()

    _metrics = field_validator("metrics")(_unique)

    @model_validator(mode="after")
    def _accuracy_has_a_rule(self) -> Self:
        if "accuracy" in self.metrics and self.correctness is None:
            raise ValueError("metric accuracy needs a rule; set judge.correctness")
        return self


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


# Settings that may change during a run, since results do not depend on them.
LIMITS = dict.fromkeys(("rpm", "tpm", "max_concurrency", "timeout"), True)
ENGINE = {"max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size", "enforce_eager"}
MUTABLE_KEYS: Mapping[str, Any] = {
    "budget_usd": True,
    "quality": True,
    "teacher": LIMITS,
    "judge": {"model": LIMITS},
    "students": {"__all__": {**LIMITS, "replicas": True, "engine": ENGINE}},
}


class Experiment(StrictModel):
    """An experiment. `budget_usd` limits the cost of all calls of a run together. `task` is the task folder;
    only configurations of releases before task folders lack it. `identity` seeds the draws for a row by what
    stands in it or, as in earlier releases, by its number."""

    name: Name
    task: TaskFolder | None = None
    dataset: options.Dataset
    passages: Passages = Passages()
    teacher: Annotated[Teacher, BeforeValidator(_backend_or_mapping)]
    students: Annotated[list[Annotated[Student, BeforeValidator(_backend_or_mapping)]], Field(min_length=1)]
    augment: options.Augment = options.Augment()
    rationale: options.Rationale = options.Rationale()
    grid: Grid = Grid()
    judge: Judge = Judge()
    quality: options.Quality = options.Quality()
    grow: options.Grow = options.Grow()
    units_per_task: UnitsPerTask = UnitsPerTask()
    budget_usd: Annotated[float, Field(gt=0)] | None = None
    seed: Whole = 0
    identity: Literal["content", "row"] = "content"

    @field_validator("students")
    @classmethod
    def _students_are_distinct(cls, students: list[Student]) -> list[Student]:
        names = [student.name for student in students]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two are named {twice[0]}; give each a name of its own")
        return students

    @field_validator("grid")
    @classmethod
    def _retrieval_is_known(cls, grid: Grid, info: ValidationInfo) -> Grid:
        passages = info.data.get("passages")
        if passages is None:  # its own error is reported
            return grid
        for name in grid.retrieval:
            if isinstance(name, str) and name not in passages.alternatives:
                near = get_close_matches(name, passages.alternatives, n=1)
                remedy = f"did you mean {near[0]}?" if near else "describe it there, or take true or false"
                raise ValueError(
                    f"retrieval names {name}, which passages.alternatives does not have; {remedy}"
                )
        return grid

    @model_validator(mode="after")
    def _names_of_cells_fit(self) -> Self:
        for student in self.students:
            if len(self.grid.exemplars) > 1 and len(student.name) > LONGEST_NAME:
                raise ValueError(
                    f"with several grid.exemplars the name of a student has at most {LONGEST_NAME} "
                    f"characters; shorten {student.name}"
                )
        return self

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        if self.budget_usd is not None and self.teacher.price.is_free:
            raise ValueError("budget_usd counts nothing while teacher.price is 0; set teacher.price")
        return self

    @model_validator(mode="after")
    def _task_has_what_is_used(self) -> Self:
        if self.task is None:
            return self
        if not self.task.prompts.augment and (self.augment.enabled or any(self.grid.augment_test)):
            raise ValueError(f"task folder {self.task.name} has no augment.j2, so augment.enabled and "
                             "grid.augment_test must be false")  # fmt: skip
        if self.grow.enabled and not self.task.prompts.grow:
            raise ValueError(f"task folder {self.task.name} has no grow.j2, which asks for requests; write "
                             "one, such as that in the folder of `starmill task new`")  # fmt: skip
        rules = {self.rationale.correctness, self.judge.correctness, self.judge.extraction}
        if "model" in rules and not (self.judge.model and self.task.prompts.verdict):
            lacks = (
                "judge.model"
                if self.task.prompts.verdict
                else f"a verdict.j2 in task folder {self.task.name}"
            )
            raise ValueError(f"rule model needs {lacks}")
        if "module" in rules and not self.task.module:
            raise ValueError(f"rule module needs a task.py, which task folder {self.task.name} does not have")
        return self

    @property
    def executes(self) -> bool:
        """True if workers run code that models wrote."""
        return not self.grow.enabled and (self.judge.execution or self.rationale.correctness == "execution")

    @property
    def examined(self) -> Sequence[Student]:
        """The students that a run asks; none if it grows requests."""
        return [] if self.grow.enabled else self.students

    @property
    def asks_judge(self) -> bool:
        """True if a judge model gives verdicts."""
        return not self.grow.enabled and "model" in (self.judge.correctness, self.rationale.correctness)

    def student(self, name: str) -> Student:
        return next(student for student in self.students if student.name == name)


def slug(text: str) -> str:
    """Return `text` as part of a queue or collection name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "unnamed"
