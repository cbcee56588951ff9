"""Exemplars show their requests as written or augmented: an axis of the grid of its own."""

from __future__ import annotations

import pytest

from models.core.experiment.experiment import Experiment
from models.core.experiment.parts import missing_part
from models.core.pipeline.contrasts import main_contrasts
from models.core.pipeline.grid import cells
from storage.ledger.runs import config_hash
from tests.support.small_run import experiment

GRID = {"shots": [0, 2], "retrieval": [False], "rationale": ["none"]}


def with_grid(**axes: object) -> Experiment:
    return experiment(grid=GRID | axes)


@pytest.mark.parametrize("augmented", [False, True])
def test_exemplars_look_like_the_test_request_unless_told_otherwise(augmented: bool) -> None:
    follows = cells(with_grid(augment_test=[augmented]))
    assert [cell.augment_exemplars for cell in follows] == [False, augmented]
    fixed = cells(with_grid(augment_test=[augmented], augment_exemplars=[not augmented]))
    assert [cell.augment_exemplars for cell in fixed] == [False, not augmented]
    assert [cell.name for cell in fixed] == [cell.name for cell in follows]


def test_both_have_cells_of_their_own_and_a_contrast() -> None:
    both = cells(with_grid(augment_exemplars=[False, True]))
    assert [(cell.name, cell.augment_exemplars) for cell in both] == [
        ("student/0-shot", False),
        ("student/2-shot-raw", False),
        ("student/2-shot-augmented", True),
    ]
    changes = [each.name for each in main_contrasts(both)]
    assert "Requests of exemplars: augmented less as written" in changes


def test_contrast_of_test_requests_does_not_need_the_axis() -> None:
    follows = cells(with_grid(augment_test=[False, True]))
    [contrast] = [each for each in main_contrasts(follows) if each.changes[0].axis == "augment_test"]
    assert len(contrast.blocks) == 2


def test_runs_of_before_are_found() -> None:
    unset = config_hash(with_grid(), "data")
    assert config_hash(with_grid(augment_exemplars=None), "data") == unset
    assert config_hash(with_grid(augment_exemplars=[True]), "data") != unset


def test_augmented_exemplars_need_augmentations() -> None:
    without = with_grid(augment_exemplars=[True]).model_copy(
        update={"augment": experiment(augment={"enabled": False}).augment}
    )
    assert "set augment.enabled, or take [false]" in missing_part(without)
    assert not missing_part(with_grid(augment_exemplars=[True]))
