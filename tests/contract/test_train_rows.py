"""Cells of a learning curve draw exemplars from so many train rows, of which the smaller sets are parts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.axes import ExemplarChoice
from models.core.pipeline.stages import VECTOR
from models.core.retrieval.solved_examples import pack_vector
from models.core.types import Example
from producer.experiments.row_requirements import require_search_of_any_rows, require_train_rows
from storage.database import Database
from storage.ledger.runs import config_hash
from storage.schema import TEST, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, experiment, plan, units
from worker.clients import Clients
from worker.few_shot import choose_exemplars
from worker.ledger_access import LedgerAccess
from worker.run_context import RunContext

SIZES = [4, 9, 20]
GRID = {"shots": [3], "retrieval": [False], "rationale": ["none"], "train_rows": SIZES}


@pytest.mark.parametrize("choice", ["random", "fixed", "nearest", "diverse"])
def test_exemplars_come_from_the_first_rows(
    database: Database, clock: Clock, tmp_path: Path, choice: ExemplarChoice
) -> None:
    grid = GRID | {"exemplars": ["nearest", "diverse"]}
    run = plan(database, clock, train=20, test=6, augment={"enabled": False}, grid=grid)
    hand, drawn = Hand(database, run, clock), np.random.default_rng(0)
    for unit in hand.take(TRAIN, "retrieve"):
        vector = pack_vector(drawn.normal(size=4).astype(np.float32))
        hand.done(unit, {"vector": vector} if unit.variant == VECTOR else {"passages": []})
    stopping = asyncio.Event()
    ledger = LedgerAccess(database, "worker", LEASE, clock, stopping)
    context = RunContext(run, ledger, Clients(Settings(home=tmp_path), "worker"), stopping)

    def rows(size: int, shots: int) -> set[int]:
        """All rows that the test rows are shown."""
        seen: set[int] = set()
        for number, unit in enumerate(asked):
            vector = pack_vector(np.eye(6, 4, dtype=np.float32)[number] + np.float32(0.1))
            cell = replace(next(iter(context.cells.values())), exemplars=choice, shots=shots, train_rows=size)
            inputs = {("retrieve", VECTOR, 0): {"vector": vector}}
            chosen = asyncio.run(choose_exemplars(context, replace(unit, inputs=inputs), cell))
            seen.update(each.row for each in chosen)
        return seen

    asked = hand.take(TEST, "retrieve", VECTOR)
    firsts = [rows(size, 20) for size in SIZES]
    assert [len(each) for each in firsts] == SIZES
    assert firsts[0] < firsts[1] < firsts[2]
    assert firsts[0] != set(range(SIZES[0]))
    for size, first in zip(SIZES, firsts, strict=True):
        assert rows(size, 3) <= first
    assert rows(0, 3) == rows(20, 3)
    ledger.close()


def test_sizes_plan_no_more_for_the_teacher(database: Database, clock: Clock) -> None:
    one = {name: value for name, value in GRID.items() if name != "train_rows"}
    plan(database, clock, "small-1", grid=one)
    plan(database, clock, "small-2", grid=GRID)
    before, after = (
        [(unit.stage, unit.variant) for unit in units(database, run, split=TRAIN)]
        for run in ("small-1", "small-2")
    )
    assert before == after


def test_the_key_is_part_of_an_identity_only_where_it_is_set() -> None:
    one = {name: value for name, value in GRID.items() if name != "train_rows"}
    unset = config_hash(experiment(grid=one), "data")
    assert config_hash(experiment(grid=one | {"train_rows": None}), "data") == unset
    assert config_hash(experiment(grid=GRID), "data") != unset


def test_more_rows_than_there_are_is_refused() -> None:
    rows = [Example(row, str(row), "sort", "x") for row in range(20)]
    require_train_rows(experiment(grid=GRID), {TRAIN: rows, TEST: rows})
    with pytest.raises(UsageError, match=r"grid\.train_rows: 20 rows .* has 19; take 19 or less"):
        require_train_rows(experiment(grid=GRID), {TRAIN: rows[1:], TEST: rows})


@pytest.mark.parametrize(("method", "retrieval", "key"), [
    ("learned", True, "passages"), ("weighted", "other", "passages.alternatives.other"),
])  # fmt: skip
def test_search_that_learns_from_all_rows_is_refused(method: str, retrieval: bool | str, key: str) -> None:
    passages = {"method": method} if retrieval is True else {"alternatives": {"other": {"method": method}}}
    learning = {"passages": passages, "grid": GRID | {"retrieval": [retrieval]}}
    with pytest.raises(
        ExperimentError, match=rf"{key}\.method {method} learns from all .* leave train_rows out"
    ):
        require_search_of_any_rows(experiment(**learning))
    for name in ("train_rows", "retrieval"):  # all rows, or a curve without documentation
        kept = {axis: value for axis, value in learning["grid"].items() if axis != name}
        require_search_of_any_rows(experiment(passages=passages, grid={"retrieval": [False]} | kept))
    require_search_of_any_rows(experiment(grid=learning["grid"] | {"retrieval": [True]}))
