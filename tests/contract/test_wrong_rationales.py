"""Cells with right rationales only and cells with wrong ones, too, show different exemplars."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from storage.database import Database
from storage.ledger import scheduling
from storage.ledger.runs import config_hash
from storage.schema import TEST, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, experiment, plan, units
from worker.clients import Clients
from worker.few_shot import choose_exemplars
from worker.ledger_access import LedgerAccess
from worker.run_context import RunContext

GRID = {"shots": [3], "retrieval": [False], "rationale": ["first_pass", "star"]}
PLAIN: dict[str, Any] = {"augment": {"enabled": False}, "passages": None, "rationale": {"passes": 1}}


def test_cells_differ_in_the_exemplars_that_they_show(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    """The teacher is right about two of six rows at once, and about two more with a hint."""
    run = plan(database, clock, train=6, test=4, grid=GRID | {"wrong_rationales": [False, True]}, **PLAIN)
    hand = Hand(database, run, clock)
    for claimed in hand.take(TRAIN, "rationale"):
        right = claimed.example.row < 2
        (hand.correct if right else hand.done)(claimed, {"text": "first", "correct": right})
    for claimed in hand.take(TRAIN, "rationalize"):
        hand.done(claimed, {"text": "hinted", "correct": claimed.example.row < 4})
    assert scheduling.open_barrier(database, run)
    stopping = asyncio.Event()
    ledger = LedgerAccess(database, "worker", LEASE, clock, stopping)
    context = RunContext(run, ledger, Clients(Settings(home=tmp_path), "worker"), stopping)
    seen: dict[str, set[int]] = {name.partition("3-shot/")[2]: set() for name in context.cells}
    for unit in hand.take(TEST, "answer"):
        chosen = asyncio.run(choose_exemplars(context, unit, context.cells[unit.variant]))
        seen[unit.variant.partition("3-shot/")[2]].update(exemplar.row for exemplar in chosen)
    ledger.close()
    assert seen == {
        "first_pass-right": {0, 1},
        "first_pass-all": {0, 1, 2, 3, 4, 5},
        "star-right": {0, 1, 2, 3},
        "star-all": {0, 1, 2, 3, 4, 5},
    }


def test_the_axis_plans_no_more_for_the_teacher(database: Database, clock: Clock) -> None:
    plan(database, clock, "small-1", grid=GRID, **PLAIN)
    plan(database, clock, "small-2", grid=GRID | {"wrong_rationales": [False, True]}, **PLAIN)
    teacher = [
        [(unit.stage, unit.variant) for unit in units(database, run, split=TRAIN)]
        for run in ("small-1", "small-2")
    ]
    assert teacher[0] == teacher[1]
    assert len(units(database, "small-2", stage="answer")) == 2 * len(
        units(database, "small-1", stage="answer")
    )


def test_the_key_is_part_of_an_identity_only_where_it_is_set() -> None:
    unset = config_hash(experiment(grid=GRID), "data")
    assert config_hash(experiment(grid=GRID | {"wrong_rationales": None}), "data") == unset
    assert config_hash(experiment(grid=GRID | {"wrong_rationales": [False, True]}), "data") != unset
