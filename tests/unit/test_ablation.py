"""The grid's cells, in the order of the paper's table."""

from __future__ import annotations

from models.core.experiment.experiment import Experiment
from models.core.experiment.parts import LONGEST_NAME, missing_part
from models.core.pipeline.contrasts import Change, main_contrasts
from models.core.pipeline.grid import Cell, cells
from producer.experiments.load import load_experiment
from storage.schema import UnitRow
from tests.support.small_run import experiment


def test_cells_of_the_papers_table_come_in_its_order() -> None:
    paper = cells(load_experiment("conala-paper"))
    for student in ("mpt-7b-chat", "alpaca-7b"):
        assert [
            (cell.shots, cell.retrieval, cell.rationale) for cell in paper if cell.student == student
        ] == [
            (0, "", "none"),
            (0, "retrieval", "none"),
            (2, "", "none"),
            (2, "retrieval", "none"),
            (2, "", "first_pass"),
            (2, "retrieval", "first_pass"),
            (2, "", "star"),
            (2, "retrieval", "star"),
        ]  # fmt: skip
    assert [cell.student for cell in paper] == ["mpt-7b-chat"] * 8 + ["alpaca-7b"] * 8
    assert {cell.wording for cell in paper} == {"raw"}


def test_cell_name_holds_what_the_cell_varies() -> None:
    assert Cell("s", 0, "", "none").name == "s/0-shot"
    assert Cell("s", 2, "retrieval", "star", augment_test=True).name == "s/2-shot/retrieval/star/augmented"
    augmented = cells(experiment(grid={"shots": [1], "augment_test": [False, True], "rationale": ["none"]}))
    assert [(cell.name, cell.wording) for cell in augmented] == [
        ("student/1-shot", "raw"),
        ("student/1-shot/retrieval", "raw"),
        ("student/1-shot/augmented", "augmented"),
        ("student/1-shot/retrieval/augmented", "augmented"),
    ]


def test_alternatives_of_retrieval_have_cells_of_their_own() -> None:
    grid_cells = cells(
        experiment(
            passages={"alternatives": {"bm25": {"method": "bm25"}}},
            grid={"shots": [2], "retrieval": [False, "bm25", True], "rationale": ["star"]},
        )
    )
    assert [(cell.name, cell.retrieval_word) for cell in grid_cells] == [
        ("student/2-shot/star", "no"),
        ("student/2-shot/bm25/star", "bm25"),
        ("student/2-shot/retrieval/star", "yes"),
    ]


def test_exemplars_are_named_where_they_vary_and_only_there() -> None:
    grid = {"shots": [0, 2], "retrieval": [True], "rationale": ["none", "star"]}
    one = cells(experiment(grid=grid | {"exemplars": "nearest"}))
    assert [(cell.name, cell.exemplars) for cell in one] == [
        ("student/0-shot/retrieval", ""),
        ("student/2-shot/retrieval", "nearest"),
        ("student/2-shot/retrieval/star", "nearest"),
    ]
    two = cells(experiment(grid=grid | {"exemplars": ["random", "fixed"]}))
    assert [(cell.name, cell.exemplars) for cell in two] == [
        ("student/0-shot/retrieval", ""),
        ("student/2-shot-random/retrieval", "random"),
        ("student/2-shot-fixed/retrieval", "fixed"),
        ("student/2-shot-random/retrieval/star", "random"),
        ("student/2-shot-fixed/retrieval/star", "fixed"),
    ]


def test_wrong_rationales_are_an_axis_of_cells_with_rationales() -> None:
    grid = {"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]}
    both = cells(experiment(grid=grid | {"wrong_rationales": [False, True]}))
    assert [(cell.name, cell.wrong_rationales) for cell in both] == [
        ("student/0-shot", False),
        ("student/2-shot", False),
        ("student/2-shot/star-right", False),
        ("student/2-shot/star-all", True),
    ]
    for drop_wrong in (True, False):
        one = cells(experiment(grid=grid, rationale={"drop_wrong": drop_wrong}))
        assert [cell.name for cell in one] == ["student/0-shot", "student/2-shot", "student/2-shot/star"]
        assert {cell.wrong_rationales for cell in one} == {not drop_wrong}
    over = cells(experiment(grid=grid | {"wrong_rationales": [True]}, rationale={"drop_wrong": True}))
    assert {(cell.wrong_rationales, cell.wrong_vary) for cell in over} == {(True, False)}


def test_train_rows_are_an_axis_of_cells_with_exemplars() -> None:
    grid = {"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]}
    assert {cell.train_rows for cell in cells(experiment(grid=grid))} == {0}
    sizes = cells(experiment(grid=grid | {"train_rows": [100, 400], "exemplars": ["fixed", "nearest"]}))
    assert [(cell.name, cell.train_rows) for cell in sizes][:4] == [
        ("student/0-shot", 0),
        ("student/2-shot-fixed-of-100", 100),
        ("student/2-shot-fixed-of-400", 400),
        ("student/2-shot-nearest-of-100", 100),
    ]
    assert [cell.name for cell in sizes][-1] == "student/2-shot-nearest-of-400/star"
    changes = [contrast.changes for contrast in main_contrasts(sizes)]
    assert [(Change("train_rows", 100, 400),)] == [each for each in changes if each[0].axis == "train_rows"]


def test_the_longest_names_fit_the_ledger() -> None:
    longest = "r" * 32
    grid = {"shots": [64], "retrieval": [longest], "rationale": ["first_pass"], "augment_test": [True]}
    assert UnitRow.model_fields["variant"].metadata[0].max_length == LONGEST_NAME

    def lengthy(student: int, choices: list[str]) -> Experiment:
        return experiment(
            passages={"alternatives": {longest: {"method": "bm25"}}},
            students=[{"backend": "embedded", "name": "s" * student}],
            grid=grid | {"exemplars": choices},
        )

    assert missing_part(lengthy(64, ["nearest"])) == ""
    assert missing_part(lengthy(58, ["nearest", "diverse"])) == ""
    assert "that is 129 characters, and 128 fit; shorten" in missing_part(lengthy(59, ["nearest", "diverse"]))


def test_without_exemplars_there_are_no_rationales() -> None:
    grid_cells = cells(
        experiment(grid={"shots": [0, 1], "retrieval": [False], "rationale": ["first_pass", "none"]})
    )
    assert [cell.name for cell in grid_cells] == [
        "student/1-shot/first_pass",
        "student/0-shot",
        "student/1-shot",
    ]
