"""The grid's cells, in the order of the paper's table."""

from __future__ import annotations

from models.ablation import Cell, cells
from producer.experiments import load_experiment
from tests.small_run import experiment


def test_cells_of_the_papers_table_come_in_its_order() -> None:
    paper = cells(load_experiment("conala-paper"))
    for student in ("mpt-7b-chat", "alpaca-7b"):
        assert [
            (cell.shots, cell.retrieval, cell.rationale) for cell in paper if cell.student == student
        ] == [
            (0, False, "none"),
            (0, True, "none"),
            (2, False, "none"),
            (2, True, "none"),
            (2, False, "first_pass"),
            (2, True, "first_pass"),
            (2, False, "star"),
            (2, True, "star"),
        ]  # fmt: skip
    assert [cell.student for cell in paper] == ["mpt-7b-chat"] * 8 + ["alpaca-7b"] * 8
    assert {cell.query for cell in paper} == {"raw"}


def test_variant_names_what_the_cell_varies() -> None:
    assert Cell("s", 0, False, "none").variant == "s/0-shot"
    assert Cell("s", 2, True, "star", augment_test=True).variant == "s/2-shot/retrieval/star/augmented"
    augmented = cells(experiment(grid={"shots": [1], "augment_test": [False, True], "rationale": ["none"]}))
    assert [(cell.variant, cell.query) for cell in augmented] == [
        ("student/1-shot", "raw"),
        ("student/1-shot/retrieval", "raw"),
        ("student/1-shot/augmented", "augmented"),
        ("student/1-shot/retrieval/augmented", "augmented"),
    ]


def test_without_exemplars_there_are_no_rationales() -> None:
    found = cells(
        experiment(grid={"shots": [0, 1], "retrieval": [False], "rationale": ["first_pass", "none"]})
    )
    assert [cell.variant for cell in found] == [
        "student/1-shot/first_pass",
        "student/0-shot",
        "student/1-shot",
    ]
