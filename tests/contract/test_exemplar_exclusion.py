"""A test row is never shown a train example of its own question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.core.experiment.axes import ExemplarChoice
from models.core.pipeline.stages import VECTOR
from models.core.retrieval.solved_examples import pack_vector
from models.core.types import Example
from storage.database import Database
from storage.ledger import runs
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, experiment
from worker.clients import Clients
from worker.few_shot import choose_exemplars
from worker.ledger_access import LedgerAccess
from worker.run_context import RunContext

CHOICES: list[ExemplarChoice] = ["random", "fixed", "nearest", "diverse"]
TRAINED = ["7-1", "8-1", "7-2", "9-1", "10-1", "8-2", "11-1", "12-1"]
ASKED = ["7-9", "99-1", "8-9"]


@pytest.fixture
def show(
    database: Database, clock: Clock, tmp_path: Path
) -> Iterator[Callable[[str, ExemplarChoice, int], list[str]]]:
    """The questions that a test row is shown, by its own, the choice, and how many shots there are."""

    def rows(names: list[str]) -> list[Example]:
        return [Example(row, name, f"sort {name}", "x") for row, name in enumerate(names)]

    grid = {"shots": [2], "retrieval": [False], "rationale": ["none"], "exemplars": CHOICES}
    config = experiment(augment={"enabled": False}, grid=grid)
    runs.plan_run(database, "small-1", config, {TRAIN: rows(TRAINED), TEST: rows(ASKED)}, clock())
    runs.start_run(database, "small-1", clock())
    hand = Hand(database, runs.load_run(database, "small-1"), clock)
    drawn = np.random.default_rng(0)
    tested = hand.take(TEST, "retrieve", VECTOR)
    for unit in hand.take(TRAIN, "retrieve"):
        vector = pack_vector(drawn.normal(size=4).astype(np.float32))
        hand.done(unit, {"vector": vector} if unit.variant == VECTOR else {"passages": []})
    stopping = asyncio.Event()
    ledger = LedgerAccess(database, "worker", LEASE, clock, stopping)
    context = RunContext(hand.run, ledger, Clients(Settings(home=tmp_path), "worker"), stopping)
    asked = {unit.example.question_id: unit for unit in tested}
    vectors = {("retrieve", VECTOR, 0): {"vector": pack_vector(np.ones(4, dtype=np.float32))}}

    def shown(question: str, choice: ExemplarChoice, shots: int) -> list[str]:
        unit: ClaimedUnit = replace(asked[question], inputs=vectors)
        cell = replace(next(iter(context.cells.values())), exemplars=choice, shots=shots)
        return [TRAINED[one.row] for one in asyncio.run(choose_exemplars(context, unit, cell))]

    yield shown
    ledger.close()


@pytest.mark.parametrize("choice", CHOICES)
def test_other_examples_keep_their_order(
    choice: ExemplarChoice, show: Callable[[str, ExemplarChoice, int], list[str]]
) -> None:
    for question in ("7", "8"):
        everything = [name for name in TRAINED if not name.startswith(f"{question}-")]
        assert sorted(show(f"{question}-9", choice, len(TRAINED))) == sorted(everything)
        assert show(f"{question}-9", choice, 2) == show(f"{question}-9", choice, len(TRAINED))[:2]
    assert sorted(show("99-1", choice, len(TRAINED))) == sorted(TRAINED)


@pytest.mark.parametrize("choice", ["fixed", "diverse"])
def test_first_examples_of_other_questions_are_shown(
    choice: ExemplarChoice, show: Callable[[str, ExemplarChoice, int], list[str]]
) -> None:
    """Rows from whose set nothing has to be left out are shown the very same."""
    order = show("99-1", choice, len(TRAINED))
    for question in ("7", "8"):
        others = [name for name in order if not name.startswith(f"{question}-")]
        for shots in range(1, len(TRAINED)):
            assert show(f"{question}-9", choice, shots) == others[:shots]
