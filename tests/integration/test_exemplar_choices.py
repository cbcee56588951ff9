"""A run with all ways to choose exemplars, through real workers and a real encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.core.experiment.axes import ExemplarChoice
from models.core.pipeline.grid import cells
from storage.ledger import runs
from storage.schema import DONE
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import CHORES, write_data, write_experiment
from tests.support.pipeline import Ended, Home, run_locally
from tests.support.small_run import units

TRAIN, TEST, SHOTS = 16, 8, 2
CHOICES: list[ExemplarChoice] = ["random", "fixed", "nearest", "diverse"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, server: OpenAIServer) -> Ended:
    folder = tmp_path_factory.mktemp("choices")
    data = write_data(folder / "data", train=TRAIN, test=TEST)
    experiment = write_experiment(
        data,
        server.url,
        augment={"enabled": False},
        rationale={"passes": 0},
        grid={"shots": [0, SHOTS], "retrieval": [False], "rationale": ["none"], "exemplars": CHOICES},
        students=[
            {"name": "small", "backend": "server", "model": "small", "base_url": server.url,
             "prompt_format": "chatml"},
        ],
    )  # fmt: skip
    return run_locally(Home(folder / "home"), experiment)


@pytest.fixture(scope="module")
def answers(ended: Ended) -> dict[str, list[dict[str, Any]]]:
    """Exported answers by the choice of their exemplars, in the order of rows."""
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in ended.home.export(ended.run, "answers"):
        requests.setdefault(row["exemplar_choice"], []).append(row)
    return requests


def test_each_choice_is_a_cell_of_its_own(ended: Ended, answers: dict[str, list[dict[str, Any]]]) -> None:
    assert {name: {row["variant"] for row in rows} for name, rows in answers.items()} == {
        "": {"small/0-shot"},
        **{name: {f"small/2-shot-{name}"} for name in CHOICES},
    }
    assert all(len(rows) == TEST for rows in answers.values())
    with ended.home.ledger() as db:
        run = runs.load_run(db, ended.run)
        assert len(cells(run.experiment)) == 1 + len(CHOICES)
        assert {unit.state for unit in units(db, ended.run, variant="vector")} == {DONE}


def test_the_nearest_are_the_same_chore(answers: dict[str, list[dict[str, Any]]]) -> None:
    right = sum(
        shown % len(CHORES) == row["row"] % len(CHORES)
        for row in answers["nearest"]
        for shown in row["exemplars"]
    )
    assert right >= 0.9 * TEST * SHOTS


def test_fixed_and_diverse_sets_are_shown_to_all(answers: dict[str, list[dict[str, Any]]]) -> None:
    sets = {name: {tuple(row["exemplars"]) for row in rows} for name, rows in answers.items()}
    assert (len(sets["fixed"]), len(sets["diverse"])) == (1, 1)
    assert len(sets["random"]) > TEST / 2
    [diverse] = sets["diverse"]
    assert len({shown % len(CHORES) for shown in diverse}) == SHOTS


def test_the_report_tells_the_choices_apart(ended: Ended) -> None:
    stdout = ended.home.starmill("report", ended.run).stdout
    assert "| Exemplars |" in stdout
    for name in CHOICES:
        assert f"| {name} |" in stdout
