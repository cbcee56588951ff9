"""A part of an experiment that is left out is not planned, and one line says what needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.pipeline.grid import Searches, cells
from models.core.pipeline.plan import planned_slots
from models.core.types import AnswerTests, Example
from producer.experiments.row_requirements import require_cluster_column, require_references
from producer.index import require_passages
from storage.schema import TEST, TRAIN
from tests.support.experiment_files import MINIMAL, load, refusal

TEACHER_ONLY = {key: MINIMAL[key] for key in ("name", "dataset", "teacher")}
STUDENTS_ONLY = {key: MINIMAL[key] for key in ("name", "dataset", "students")}
BARE = TEACHER_ONLY | {"students": ["embedded"]}
ROW = Example(0, "q", "sort", "")


def steps(experiment: Experiment, split: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (slot.stage, slot.variant, tuple("/".join(step[:2]) for step in slot.after))
        for slot in planned_slots(experiment)[split]
    ]


def test_without_passages_nothing_is_retrieved(tmp_path: Path) -> None:
    experiment = load(tmp_path, BARE)
    assert experiment.passages is None
    assert experiment.grid.retrieval == [False]
    assert steps(experiment, TRAIN) == [
        ("augment", "", ()), ("rationale", "", ("augment/",)), ("rationalize", "pass-1", ("rationale/",)),
    ]  # fmt: skip
    assert {stage for stage, _, _ in steps(experiment, TEST)} == {"answer", "judge"}
    assert {cell.retrieval for cell in cells(experiment)} == {""}
    assert Searches.read(None).choices == {}
    with pytest.raises(ExperimentError, match="passages: is not set, so there is no documentation to search"):
        require_passages(experiment)


@pytest.mark.parametrize("off", [False, None])
def test_passages_of_the_task_folder_are_switched_off(tmp_path: Path, off: bool | None) -> None:
    config = {"name": "x", "task": "tldr", "teacher": "embedded"}
    assert load(tmp_path, config).passages
    assert load(tmp_path, config | {"passages": off}).passages is None
    assert load(tmp_path, config, "passages=false").passages is None


def test_without_augmentation_and_passages_a_rationale_waits_for_nothing(tmp_path: Path) -> None:
    experiment = load(tmp_path, BARE | {"augment": {"enabled": False}, "rationale": {"rounds": 2}})
    assert steps(experiment, TRAIN) == [
        ("rationale", "", ()),
        ("rationalize", "pass-1", ("rationale/",)),
        ("rationale", "round-2", ("barrier/round-2",)),
        ("rationalize", "round-2/pass-1", ("rationale/round-2",)),
    ]


def test_without_students_there_is_no_grid(tmp_path: Path) -> None:
    config = TEACHER_ONLY | {"dataset": {"path": "data", "train": "train.jsonl"}, "passages": {}}
    experiment = load(tmp_path, config)
    assert experiment.students == []
    assert steps(experiment, TEST) == []
    assert steps(experiment, TRAIN)[-1][0] == "rationalize"
    assert experiment.model("teacher") is experiment.teacher


def test_without_a_teacher_only_students_are_asked(tmp_path: Path) -> None:
    experiment = load(tmp_path, STUDENTS_ONLY | {"grid": {"shots": [0]}})
    assert experiment.teacher is None
    assert experiment.grid.rationale == ["none"]
    assert steps(experiment, TRAIN) == []
    assert steps(experiment, TEST) == [("answer", "student/0-shot", ()),
                                       ("judge", "student/0-shot", ("answer/student/0-shot",))]  # fmt: skip
    with pytest.raises(KeyError):
        experiment.model("teacher")


def test_exemplars_of_students_without_a_teacher_are_searched_for(tmp_path: Path) -> None:
    experiment = load(tmp_path, STUDENTS_ONLY | {"passages": {}, "grid": {"retrieval": [True]}})
    assert steps(experiment, TRAIN) == [("retrieve", "raw", ())]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "x", "dataset": MINIMAL["dataset"]}, "asks no model; add a teacher, who writes data,"),
        (STUDENTS_ONLY | {"grid": {"rationale": ["star"]}}, "grid.rationale needs a teacher; add one,"),
        (STUDENTS_ONLY | {"augment": {"enabled": True}}, "augment.enabled needs a teacher; add one,"),
        (STUDENTS_ONLY | {"grow": {"enabled": True}}, "grow.enabled needs a teacher; add one, or take false"),
        (BARE | {"grid": {"retrieval": [True]}}, "grid: retrieval needs documentation; add the section"),
        (BARE | {"grid": {"exemplars": "nearest"}}, "grid.exemplars nearest compares requests by the"),
        (BARE | {"dataset": {"path": "d", "train": "t"}}, "students answer test rows, and dataset.test is"),
        (STUDENTS_ONLY | {"budget_usd": 1}, "budget_usd counts nothing while no model has a price; set"),
    ],
)  # fmt: skip
def test_a_part_that_is_lacking_is_named(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    assert refusal(tmp_path, config).startswith(says)


def test_templates_that_nobody_uses_are_not_needed(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "task.yaml").write_text("stop: []\n")
    (folder / "rationale.j2").write_text(
        "{% block system %}Explain.{% endblock %}{% block user %}{{ request }}{% endblock %}"
    )
    experiment = load(tmp_path, TEACHER_ONLY | {"task": "mine"})
    assert not experiment.augment.enabled
    with pytest.raises(UsageError, match=r"task folder mine has no answer\.j2, which asks students; write"):
        load(tmp_path, BARE | {"task": "mine"})
    assert "mine has no rationale.j2" not in refusal(tmp_path, STUDENTS_ONLY | {"task": "mine"})


def of_data(tmp_path: Path, **sections: Any) -> Experiment:
    config = {"name": "x", "data": "rows.jsonl", "teacher": "embedded", "students": ["embedded"]}
    return load(tmp_path, config | sections)


@pytest.mark.parametrize(
    ("sections", "rows", "says"),
    [
        ({}, [ROW], "rationale.correctness strict compares with references, and train row 1 has none; name"),
        ({"rationale": {"correctness": "execution"}}, [ROW], "execution compares rows without tests with"),
        ({"teacher": None}, [ROW], "exemplars show references, and train row 1 has none; name their column"),
        ({"teacher": None, "grid": {"shots": [0]}}, [ROW], "judge.metrics compare with references, and test"),
        ({}, [], "students: answer test rows, and there are none; add `split: {test: 0.1}`, or leave"),
    ],
)  # fmt: skip
def test_rows_without_references_are_refused_where_something_compares(
    tmp_path: Path, sections: dict[str, Any], rows: list[Example], says: str
) -> None:
    with pytest.raises(ExperimentError) as error:
        require_references(of_data(tmp_path, **sections), {TRAIN: [ROW], TEST: rows})
    assert says in str(error.value)


def test_references_are_not_needed_where_nothing_compares(tmp_path: Path) -> None:
    judge = {"model": "embedded", "correctness": "model", "metrics": ["accuracy"]}
    rationale = {"correctness": "model", "passes": 0}
    judged = of_data(tmp_path, task="docqa", passages=None, judge=judge, rationale=rationale,
                     grid={"rationale": ["star"], "shots": [2]})  # fmt: skip
    require_references(judged, {TRAIN: [ROW], TEST: [ROW]})
    tested = Example(0, "q", "sort", "", tests=AnswerTests("assert f()"))
    executed = of_data(tmp_path, students=[], rationale={"correctness": "execution"})
    require_references(executed, {TRAIN: [tested], TEST: []})


def test_cluster_column_that_no_scored_row_has_is_refused(tmp_path: Path) -> None:
    """The train row has it, but only test rows have a score."""
    rows = [
        Example(row, str(row), "sort", "x", columns={"topic": "" if row else None, "meta": {"level": row}})
        for row in range(2)
    ]
    splits = {TRAIN: [Example(0, "q", "sort", "x", columns={"topik": "a"})], TEST: rows}
    for column in ("topik", "topic", "meta.leveln"):
        experiment = load(tmp_path, STUDENTS_ONLY | {"report": {"cluster": column}})
        with pytest.raises(
            ExperimentError, match=rf"report\.cluster: no test row has .* {column};.* topic, meta"
        ):
            require_cluster_column(experiment, splits)
    for column in ("", "meta.level"):
        require_cluster_column(load(tmp_path, STUDENTS_ONLY | {"report": {"cluster": column}}), splits)
    teacher_only = load(tmp_path, TEACHER_ONLY | {"report": {"cluster": "topik"}})
    require_cluster_column(teacher_only, splits)
