"""The experiment: all settings that change results, validated before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.core.answers.extraction import Extraction
from models.core.correctness import Correctness
from models.core.experiment import options
from models.core.experiment.axes import Grid, unique
from models.core.experiment.data_source import Data, SplitRule
from models.core.experiment.endpoints import (
    JudgeModel,
    Model,
    Name,
    NamedModel,
    StrictModel,
    Student,
    Teacher,
    Whole,
)
from models.core.experiment.passages import Passages
from models.core.experiment.quality_filters import Quality
from models.core.experiment.task_folder import TaskFolder
from models.core.kinds import AnyStep
from models.core.kinds.order import check_steps
from models.core.near_names import did_you_mean, nearest
from models.core.programs import ProgramLimits


def _backend_or_mapping(value: Any) -> Any:
    return {"backend": value} if isinstance(value, str) else value


def _named_by_key(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    mappings = {name: _backend_or_mapping(model) for name, model in value.items()}
    return {name: {**model, "name": name} if isinstance(model, dict) else model
            for name, model in mappings.items()}  # fmt: skip


def _false_is_none(value: Any) -> Any:
    return None if value is False else value


class Judge(StrictModel):
    """The judgement of students' answers."""

    extraction: Extraction = "strict"
    """finds the answer in a text: `strict` takes what follows "The answer is", else a block or line of code;
    `paper` the paper's way; `none` all; `module` calls `extract` of `task.py`"""
    correctness: Correctness | None = None
    """the rule that decides the metric `accuracy`"""
    metrics: list[options.Metric] = Field(list(options.DEFAULT_METRICS))
    """the scores of the report"""
    model: Annotated[JudgeModel, BeforeValidator(_backend_or_mapping)] | None = None
    """the model that gives the verdicts of rule `model`; `params: {response_format: {type: json_object}}`
    asks it for JSON"""
    execution: Annotated[bool, Field(strict=True)] = False
    """runs each answer against the tests of its row, and reports pass@k"""
    limits: ProgramLimits = ProgramLimits()
    """the limits of each program"""

    _metrics = field_validator("metrics")(unique)

    @model_validator(mode="after")
    def _accuracy_has_a_rule(self) -> Self:
        if "accuracy" in self.metrics and self.correctness is None:
            raise ValueError("metric accuracy needs a rule; set judge.correctness")
        return self


# A name that templates and conditions can read.
StepName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Experiment(StrictModel):
    """An experiment needs a `name`, rows (`data` or `dataset`) and a model to ask. What is left out is not
    run."""

    name: Name
    """begins the names of runs"""
    task: TaskFolder | None = None
    """a task folder: a path, or `conala` (default), `tldr`, `docqa`, `qa`"""
    data: Data | None = None
    """the rows; a text is the `path`"""
    split: SplitRule | None = None
    """chooses test rows of `data`"""
    dataset: options.Dataset | None = None
    """in place of `data`: files of train and test rows"""
    passages: Annotated[Passages | None, BeforeValidator(_false_is_none)] = None
    """documentation and its search; `false` leaves out that of the task folder"""
    models: Annotated[dict[Name, NamedModel], BeforeValidator(_named_by_key)] = Field({})
    """models by name; a text is a backend"""
    teacher: Annotated[Teacher, BeforeValidator(_backend_or_mapping)] | None = None
    """the model that writes data: a name of `models`, or a model"""
    students: list[Annotated[Student, BeforeValidator(_backend_or_mapping)]] = Field([])
    """the models under test: names of `models`, or models"""
    steps: dict[StepName, AnyStep] = Field({})
    """what is done to every row, by the name of the column that a step adds"""
    augment: Annotated[options.Augment, Field(validate_default=True)] = options.Augment()
    """how requests are augmented"""
    rationale: options.Rationale = options.Rationale()
    """how rationales are made and judged"""
    grid: Annotated[Grid, Field(validate_default=True)] = Grid()
    """the axes of the ablation"""
    judge: Judge = Judge()
    """how answers of students are judged"""
    quality: Quality = Quality()
    """the filters of synthetic rows"""
    report: options.ReportSettings = options.ReportSettings()
    """the tables of a report"""
    grow: options.Grow = options.Grow()
    """how `starmill data grow` makes new requests"""
    units_per_task: options.UnitsPerTask = options.UnitsPerTask()
    """the units of one Celery task"""
    budget_usd: Annotated[float, Field(gt=0)] | None = None
    """US dollars that all calls of a run may cost together"""
    seed: Whole = 0
    """seeds what is drawn at random"""
    identity: Literal["content", "row"] = "content"
    """what seeds a row's draws: its `content`, or its number in the data (`row`), as in earlier releases"""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if not self.data and not self.dataset:
            raise ValueError("has no rows; set data to a file of them")
        if self.data and self.dataset:
            raise ValueError("has both data and dataset; leave one of them out")
        if self.split and not self.data:
            raise ValueError("split divides the rows of data; dataset names its own files of both splits")
        return self

    @field_validator("students")
    @classmethod
    def _students_are_distinct(cls, students: list[Student]) -> list[Student]:
        names = [student.name for student in students]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two are named {twice[0]}; give each a name of its own")
        return students

    @model_validator(mode="after")
    def _steps_fit_together(self) -> Self:
        check_steps(self.steps)
        for name, step in self.steps.items():
            try:
                if step.asks:
                    self.model(step.asks)
            except KeyError:
                models = [*self.roles, *self.models]
                problem = f"{step.asks} is not defined; {nearest(step.asks, models)}"
                raise ValueError(f"steps.{name}.model: {problem} under models") from None
        return self

    @field_validator("augment")
    @classmethod
    def _augments_if_it_can(cls, augment: options.Augment, info: ValidationInfo) -> options.Augment:
        """Leave augmentations out, unless they are asked for, where there is no template or no teacher."""
        task, teacher = info.data.get("task"), info.data.get("teacher")
        can = teacher and (task is None or task.prompts.augment)
        if can or "enabled" in augment.model_fields_set:
            return augment
        return augment.model_copy(update={"enabled": False})

    @field_validator("grid")
    @classmethod
    def _shows_what_there_is(cls, grid: Grid, info: ValidationInfo) -> Grid:
        """Leave documentation and rationales out, unless they are asked for, where nothing makes them."""
        if not {"passages", "teacher", "students"} <= info.data.keys():  # their own errors are reported
            return grid
        students = info.data["students"]
        if students and all(student.replays_cells for student in students):
            return grid
        passages = info.data["passages"]
        if info.data["teacher"] is None and "rationale" not in grid.model_fields_set:
            grid = grid.model_copy(update={"rationale": ["none"]})
        if passages is None:
            if "retrieval" not in grid.model_fields_set:
                return grid.model_copy(update={"retrieval": [False]})
            if any(grid.retrieval):
                raise ValueError("retrieval needs documentation; add the section passages, or take [false]")
            return grid
        for name in grid.retrieval:
            if isinstance(name, str) and name not in passages.alternatives:
                otherwise = "describe it there, or take true or false"
                remedy = did_you_mean(name, passages.alternatives, otherwise)
                raise ValueError(
                    f"retrieval names {name}, which passages.alternatives does not have; {remedy}"
                )
        return grid

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        if self.budget_usd is None:
            return self
        if self.teacher and self.teacher.price.is_free and not self.steps:
            raise ValueError("budget_usd counts nothing while teacher.price is 0; set teacher.price")
        if all(model.price.is_free for model in self.asked):
            raise ValueError("budget_usd counts nothing while no model has a price; set the price of one")
        return self

    @property
    def rules(self) -> set[str]:
        """The rules that find and judge answers of the teacher and of students, as far as these are asked."""
        judge = self.judge
        students = [judge.extraction, judge.correctness, *(["execution"] if judge.execution else [])]
        asked = [self.rationale.correctness] if self.makes_rationales else []
        return {rule for rule in (*asked, *(students if self.examined else [])) if rule}

    @property
    def rows_key(self) -> str:
        """The name of the section that says where rows come from."""
        return "data" if self.data else "dataset"

    @property
    def rows_path(self) -> str:
        """The file, folder or name of the data."""
        source = self.data or self.dataset
        assert source
        return source.path

    @property
    def makes_rationales(self) -> bool:
        """True if the teacher reasons about train examples."""
        return self.teacher is not None and not self.grow.enabled and not self.steps

    @property
    def executes(self) -> bool:
        """True if workers run code that models wrote."""
        return "execution" in self.rules or any(step.compares_with == "tests" for step in self.steps.values())

    @property
    def examined(self) -> Sequence[Student]:
        """The students that a run asks; none if it grows requests."""
        return [] if self.grow.enabled else self.students

    @property
    def prompted(self) -> Sequence[Student]:
        """The students for whom prompts are made: not those whose answers are recorded by cell."""
        return [student for student in self.examined if not student.replays_cells]

    @property
    def last_of_id_counts(self) -> bool:
        """True if of test rows that share an id the last one alone has a score, as in the paper."""
        by_extraction = "last" if self.judge.extraction == "paper" else "each"
        return (self.report.repeated_ids or by_extraction) == "last"

    @property
    def asks_judge(self) -> bool:
        """True if a judge model gives verdicts."""
        return "model" in self.rules

    @property
    def asked(self) -> Sequence[Model]:
        """Every model that a run may ask."""
        judge = [self.judge.model] if self.asks_judge and self.judge.model else []
        teacher = [self.teacher] if self.teacher else []
        return [*teacher, *self.examined, *judge, *self.models.values()]

    @property
    def roles(self) -> dict[str, Model]:
        """The models that play the roles `teacher` and `judge`."""
        roles = {"teacher": self.teacher, "judge": self.judge.model}
        return {name: model for name, model in roles.items() if model}

    def model(self, name: str) -> Model:
        """Return the teacher, the judge, a student or an entry of `models` by its name. Raise KeyError."""
        named = [*self.roles.values(), *self.students, *self.models.values()]
        model = self.roles.get(name) or next((each for each in named if each.name == name), None)
        if model is None:
            raise KeyError(name)
        return model

    def student(self, name: str) -> Student:
        return next(student for student in self.students if student.name == name)
