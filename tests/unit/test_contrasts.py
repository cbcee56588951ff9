"""Contrasts of a grid: which are declared, and which cells each compares."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.experiment.axes import Grid
from models.core.pipeline.contrasts import AXES, Contrast, interactions, main_contrasts
from models.core.pipeline.grid import cells
from models.core.pipeline.signatures import signatures
from producer.experiments.load import load_experiment
from storage.ledger.runs import config_hash
from tests.support.ledger_data import experiment


def contrasts(declared: Any = None, **axes: Any) -> list[Contrast]:
    grid = {"shots": [2], "retrieval": [False], "rationale": ["none"]} | axes
    planned = experiment(grid=grid | {"contrasts": declared})
    return main_contrasts(cells(planned), planned.grid.contrasts)


def names(of: list[Contrast]) -> list[str]:
    return [each.name for each in of]


def test_every_axis_of_the_grid_has_contrasts() -> None:
    assert set(AXES) == set(Grid.model_fields) - {"seeds", "contrasts"}


def test_contrasts_of_the_papers_grid_are_its_claims() -> None:
    experiment = load_experiment("conala-paper")
    main = main_contrasts(cells(experiment))
    assert {each.name: len(each.blocks) for each in main} == {
        "Rationale: first pass less none": 4,
        "Rationale: STaR less none": 4,
        "Rationale: STaR less first pass": 4,
        "Documentation: shown less none": 8,
        "Shots: 2 less 0": 4,
    }
    assert {each.name: len(each.blocks) for each in interactions(main)} == {
        "Rationale: first pass less none x Documentation: shown less none": 2,
        "Rationale: STaR less none x Documentation: shown less none": 2,
        "Rationale: STaR less first pass x Documentation: shown less none": 2,
        "Documentation: shown less none x Shots: 2 less 0": 2,
    }


def test_cells_of_a_contrast_differ_in_one_axis_alone() -> None:
    of_star, documented = contrasts(rationale=["star", "none"], retrieval=[True, False])
    assert [(before.name, after.name) for (before,), (after,) in of_star.blocks] == [
        ("pupil/2-shot/retrieval", "pupil/2-shot/retrieval/star"),
        ("pupil/2-shot", "pupil/2-shot/star"),
    ]
    [crossed] = interactions([of_star, documented])
    [(before, after)] = crossed.blocks
    assert {cell.name for cell in before} == {"pupil/2-shot/star", "pupil/2-shot/retrieval"}
    assert {cell.name for cell in after} == {"pupil/2-shot/retrieval/star", "pupil/2-shot"}


def test_an_axis_that_does_not_concern_a_cell_is_not_compared() -> None:
    """Without shots there are no exemplars to choose, without rationales no wrong ones."""
    axes = {"shots": [0, 1], "exemplars": ["random", "fixed"]}
    assert {each.name: len(each.blocks) for each in contrasts(**axes)} == {
        "Shots: 1 less 0": 2,
        "Exemplars: fixed less random": 1,
    }
    axes = {"rationale": ["none", "star"], "wrong_rationales": [True, False]}
    assert {each.name: len(each.blocks) for each in contrasts(**axes)} == {
        "Rationale: STaR less none": 2,
        "Wrong rationales: shown less left out": 1,
    }


def test_what_is_declared_is_tested_and_nothing_else() -> None:
    axes = {"rationale": ["none", "first_pass", "star"], "shots": [1, 2]}
    assert names(contrasts(["shots", {"rationale": ["star", "none"]}], **axes)) == [
        "Shots: 2 less 1",
        "Rationale: none less STaR",
    ]
    assert names(contrasts({"rationale": ["first_pass", "star"], "shots": [1, 2]}, **axes)) == [
        "Rationale: STaR less first pass",
        "Shots: 2 less 1",
    ]
    assert names(contrasts("explore", **axes)) == names(contrasts(**axes))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (["rationales"], "names rationales, which is no axis of the grid; did you mean rationale?"),
        ({"rationale": ["none", "stra"]}, "grid.rationale has no level stra; did you mean star?"),
        ([{"retrieval": [False, 1]}], "grid.retrieval has no level 1; there are false, true"),
        (["exemplars"], "names exemplars, which has one level only; give grid.exemplars two"),
        ([{"rationale": ["none"]}], "rationale takes two levels, the first to be compared with"),
        ({"shots": [2, 2]}, "compares shots 2 with itself"),
        ("rationale", "takes explore, or a list of axes such as rationale"),
        ("explor", "did you mean explore?"),
        ([], "takes explore, or a list"),
        ([3], "takes explore, or a list"),
    ],
)
def test_what_the_grid_does_not_have_is_refused(declared: Any, message: str) -> None:
    axes = {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none", "star"]}
    with pytest.raises(ValueError, match="contrasts") as refused:
        Grid.model_validate(axes | {"contrasts": declared})
    assert message in str(refused.value)


def test_declared_contrasts_make_another_run_of_the_same_calls() -> None:
    grid = {"shots": [2], "retrieval": [False], "rationale": ["none", "star"]}
    plain, declared = experiment(grid=grid), experiment(grid=grid | {"contrasts": ["rationale"]})
    assert config_hash(plain, "data") != config_hash(declared, "data")
    assert signatures(plain) == signatures(declared)
