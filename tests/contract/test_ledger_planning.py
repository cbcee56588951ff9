"""A run is planned as a whole or not at all, and found again by what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import func, select, update

from models.core.errors import ServiceError, UsageError
from models.core.pipeline.plan import planned_slots
from models.core.types import Example
from storage.database import Database
from storage.ledger import runs
from storage.ledger.deletion import delete_leftovers
from storage.ledger.planned_rows import BATCH, PLANNER_SECONDS, PlanWriter
from storage.schema import (
    EXAMPLES,
    INTERRUPTED,
    LEASES,
    PAUSED,
    PLANNED,
    READY,
    RUNNING,
    RUNS,
    TEST,
    TRAIN,
    UNITS,
    WAITING,
)
from tests.support.clock import Clock
from tests.support.small_run import examples, experiment, plan, race, units

SPLITS = {TRAIN: examples(3), TEST: examples(2, "test")}


def count(db: Database) -> dict[str, int]:
    with db.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (RUNS, EXAMPLES, UNITS)
        }


class Breaking(list[Example]):
    """A split that can be read once (to be hashed), and breaks in the middle of the second time."""

    reads = 0

    def __iter__(self) -> Iterator[Example]:
        self.reads += 1
        for number, example in enumerate(super().__iter__()):
            if self.reads > 1 and number == len(self) // 2:
                raise OSError("the disk is gone")
            yield example


def test_every_unit_is_planned(database: Database, clock: Clock) -> None:
    run = plan(database, clock, started=False)
    slots = run.slots
    assert (run.state, run.planned) == (PLANNED, 3 * len(slots[TRAIN]) + 2 * len(slots[TEST]))
    assert count(database) == {"run": 1, "example": 5, "unit": run.planned}
    planned = units(database)
    assert [unit.split for unit in planned] == sorted((unit.split for unit in planned), reverse=True)
    for split, rows in ((TRAIN, 3), (TEST, 2)):
        steps = [(unit.stage, unit.variant, unit.sample) for unit in planned if unit.split == split]
        assert steps == [slot.step for slot in slots[split]] * rows
    for unit in planned:
        [slot] = [slot for slot in slots[unit.split] if slot.step == (unit.stage, unit.variant, unit.sample)]
        assert (unit.needs, unit.queue) == (len(slot.after), slot.queue)
        assert unit.state == (WAITING if slot.after else READY)
        assert (unit.attempts, unit.rejections, unit.budget_from, unit.lease_owner) == (0, 0, 0, None)


def test_more_units_than_one_statement_holds(database: Database, clock: Clock) -> None:
    run = plan(database, clock, train=500, test=1)
    assert run.planned == len(units(database)) > BATCH
    assert (
        len({(unit.example_id, unit.stage, unit.variant, unit.sample) for unit in units(database)})
        == run.planned
    )


def test_error_in_the_middle_leaves_nothing(database: Database, clock: Clock) -> None:
    splits = {TRAIN: examples(3), TEST: Breaking(examples(4))}
    with pytest.raises(OSError, match="the disk is gone"):
        runs.plan_run(database, "small-1", experiment(), splits, clock())
    assert count(database) == {"run": 0, "example": 0, "unit": 0}
    assert plan(database, clock).planned == count(database)["unit"]


class Watched(list[Example]):
    """A split; when it is read the second time, to be written, `look` is called in the middle."""

    look: Callable[[], None]
    reads = 0

    def __iter__(self) -> Iterator[Example]:
        self.reads += 1
        for number, example in enumerate(super().__iter__()):
            if self.reads > 1 and number == len(self) // 2:
                self.look()
            yield example


def test_others_write_while_a_run_is_planned_and_do_not_see_it(database: Database, clock: Clock) -> None:
    plan(database, clock, "other", seed=1, started=False)
    before = count(database)["example"]
    train = Watched(examples(2 * BATCH + 2, "watched"))
    seen: list[tuple[int, int, list[str]]] = []

    def look() -> None:
        with closing(Database(database.url.render_as_string(hide_password=False))) as another:
            runs.start_run(another, "other", clock())
            now = count(another)
            gone = delete_leftovers(another, another.clock())
            seen.append((now["example"] - before, gone.total(), [run.id for run in runs.list_runs(another)]))

    train.look = look
    run = runs.plan_run(database, "small-1", experiment(), {TRAIN: train, TEST: []}, clock())
    assert seen == [(BATCH, 0, ["other"])]
    assert run.planned == len(units(database)) == len(train) * len(run.slots[TRAIN])
    assert runs.run_state(database, "other")[0] == RUNNING
    with database.read() as connection:
        assert not connection.execute(select(LEASES)).all()


def half_planned(database: Database) -> PlanWriter:
    """Write what a planner has written that is killed in the middle."""
    writer, rows = PlanWriter(database, "small-1"), examples(3)
    ids = writer.import_examples(runs.dataset_hash(SPLITS), TRAIN, rows[:2])
    writer.add_units(TRAIN, ids, planned_slots(experiment())[TRAIN])
    return writer


def test_rows_of_a_killed_planner_are_completed_and_its_units_deleted(
    database: Database, clock: Clock
) -> None:
    half_planned(database)
    run = runs.plan_run(database, "small-2", experiment(), SPLITS, clock())
    assert count(database) == {"run": 1, "example": 5, "unit": run.planned + len(units(database, "small-1"))}
    assert len({unit.example_id for unit in units(database, "small-2", split=TRAIN)}) == 3
    delete_leftovers(database, database.clock())
    assert units(database, "small-1")
    delete_leftovers(database, database.clock() + PLANNER_SECONDS + 1)
    assert not units(database, "small-1")
    assert count(database) == {"run": 1, "example": 5, "unit": run.planned}


def test_planner_whose_lease_ended_publishes_nothing(database: Database) -> None:
    writer = half_planned(database)
    with database.write() as connection:
        connection.execute(update(LEASES).values(expires_at=database.clock() - 1))
    with pytest.raises(ServiceError, match="planning run small-1 stood still for 300 s; start it again"):
        writer.publish({"id": "small-1"})
    writer.discard()
    assert count(database) == {"run": 0, "example": 0, "unit": 0}


def test_dataset_is_imported_once(database: Database, clock: Clock) -> None:
    plan(database, clock)
    plan(database, clock, "small-2", seed=1)
    assert count(database)["example"] == 5
    assert {unit.example_id for unit in units(database)} == {
        unit.example_id for unit in units(database, "small-2")
    }
    plan(database, clock, "small-3", train=2)
    assert count(database)["example"] == 5 + 4


def test_runs_on_new_data_may_be_planned_at_once(database: Database, clock: Clock) -> None:
    planned = race(4, lambda number: plan(database, clock, f"small-{number}", train=20, seed=number))
    assert len({run.planned for run in planned}) == 1
    assert count(database) == {"run": 4, "example": 22, "unit": 4 * planned[0].planned}


def test_run_is_found_by_experiment_and_data_alone(database: Database, clock: Clock) -> None:
    data = runs.dataset_hash(SPLITS)
    assert runs.find_run(database, experiment(), data) is None
    run = plan(database, clock)
    moved = {"path": "/elsewhere", "train": "train.jsonl", "test": "test.jsonl"}
    for same in (experiment(), experiment(dataset=moved)):
        existing = runs.find_run(database, same, data)
        assert existing is not None
        assert existing.id == run.id
    assert runs.find_run(database, experiment(seed=1), data) is None
    other = runs.dataset_hash({TRAIN: SPLITS[TRAIN], TEST: SPLITS[TEST][:1]})
    assert runs.find_run(database, experiment(), other) is None


def test_run_of_before_goes_on_with_numbers_of_rows(database: Database, clock: Clock) -> None:
    """Its configuration lacks the key, and its hash does not count it."""
    run = runs.plan_run(database, "small-1", experiment(identity="row"), SPLITS, clock())
    config = run.experiment.model_dump(mode="json", exclude={"identity"})
    with database.write() as connection:
        connection.execute(update(RUNS).values(config=config))
    existing = runs.find_run(database, experiment(), run.dataset)
    assert existing is not None
    assert (existing.id, existing.experiment.identity) == (run.id, "row")
    assert (
        runs.update_mutable(database, existing, experiment(quality={"length": True})).experiment.identity
        == "row"
    )
    clock.advance(-9)
    newer = plan(database, clock, "small-0")
    latest = runs.find_run(database, experiment(), run.dataset)
    assert latest is not None
    assert (latest.id, newer.experiment.identity) == ("small-0", "content")


def test_latest_of_equal_runs_is_found(database: Database, clock: Clock) -> None:
    plan(database, clock)
    clock.advance(1)
    plan(database, clock, "small-0")
    latest = runs.find_run(database, experiment(), runs.dataset_hash(SPLITS))
    assert latest is not None
    assert latest.id == "small-0"
    assert [run.id for run in runs.list_runs(database)] == ["small-0", "small-1"]


@pytest.mark.parametrize(
    "changed",
    [
        {TRAIN: examples(3), TEST: examples(2)},
        {TRAIN: examples(2, "test"), TEST: examples(3)},
        {TRAIN: examples(3)[::-1], TEST: examples(2, "test")},
        {TRAIN: examples(4), TEST: examples(2, "test")},
        {TRAIN: examples(3), TEST: [*examples(1, "test"), Example(1, "q1", "test 1", "answer(1)", ())]},
    ],
)
def test_changed_data_is_other_data(changed: dict[str, list[Example]]) -> None:
    assert runs.dataset_hash(changed) != runs.dataset_hash(SPLITS)


def test_configuration_is_frozen(database: Database, clock: Clock) -> None:
    sections: dict[str, Any] = {
        "teacher": {"backend": "embedded", "params": {"temperature": 0.1 + 0.2, "stop": ["é\n"]}}
    }
    plan(database, clock, **sections)
    assert runs.load_run(database, "small-1").experiment == experiment(**sections)


def test_run_is_named_by_its_beginning(database: Database, clock: Clock) -> None:
    for name in ("small-1", "small-10", "other"):
        plan(database, clock, name)
    assert runs.load_run(database, "oth").id == "other"
    assert runs.load_run(database, "small-1").id == "small-1"
    with pytest.raises(
        UsageError, match=r"more than one run begins with 'small'; `starmill runs` lists them"
    ):
        runs.load_run(database, "small")
    for unknown in ("%", "s_all-1", "none"):
        with pytest.raises(UsageError, match=r"no run '.*' in .*; `starmill runs` lists them"):
            runs.load_run(database, unknown)


def test_run_is_stopped_and_started(database: Database, clock: Clock) -> None:
    plan(database, clock, started=False)
    runs.stop_run(database, "small-1", "by hand")
    assert runs.run_state(database, "small-1") == (PLANNED, "")
    clock.advance(5)
    runs.start_run(database, "small-1", clock())
    assert runs.run_state(database, "small-1") == (RUNNING, "")
    assert runs.load_run(database, "small-1").started_at == clock()
    runs.stop_run(database, "small-1", "no key", paused=True)
    assert runs.run_state(database, "small-1") == (PAUSED, "no key")
    runs.stop_run(database, "small-1", "too late")
    assert runs.run_state(database, "small-1") == (PAUSED, "no key")
    runs.start_run(database, "small-1", clock())
    runs.stop_run(database, "small-1", "Ctrl-C")
    assert runs.run_state(database, "small-1") == (INTERRUPTED, "Ctrl-C")


def test_answers_whose_prompts_begin_alike_are_planned_cell_by_cell(database: Database, clock: Clock) -> None:
    grid = {"shots": [2], "retrieval": [False], "rationale": ["none"], "exemplars": ["random", "fixed"],
            "seeds": [0, 1]}  # fmt: skip
    run = plan(database, clock, train=1, test=2, grid=grid)
    answers = [
        (unit.variant.removeprefix("student/2-shot-"), unit.sample, unit.stage, unit.example_id)
        for unit in units(database, run.id, split=TEST)
    ]
    first, second = sorted({example for *_, example in answers})
    assert answers == [
        *(("random", seed, stage, example) for example in (first, second) for seed in (0, 1)
          for stage in ("answer", "judge")),
        *(("fixed", seed, stage, example) for seed in (0, 1) for example in (first, second)
          for stage in ("answer", "judge")),
    ]  # fmt: skip
    assert run.planned == len(units(database, run.id))
