"""Ready units without an owner are sent, and the run moves on."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from sqlalchemy import event, update

from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.scheduling import QueueRoom
from storage.schema import DONE, FINISHED, PAUSED, READY, RUNNING, TEST, TRAIN, UNITS, WAITING
from tests.support.clock import Clock
from tests.support.small_run import LEASE, PATIENCE, Hand, claim_units, ids, plan, race, take_sendable, units

TEACHER = "model.large"


def take(db: Database, clock: Clock, limit: int = 100, queue: str = TEACHER) -> list[int]:
    taken = take_sendable(db, "small-1", queue, limit, clock(), PATIENCE)
    return [unit for unit, *_ in taken]


def test_ready_units_are_sent_in_order_and_in_bounds(database: Database, clock: Clock) -> None:
    plan(database, clock, train=10)
    wanted = ids(database, stage="augment")
    assert take_sendable(database, "small-1", TEACHER, 4, clock(), PATIENCE) == [
        (unit, "augment", "augment", f"train/{row}") for row, unit in enumerate(wanted[:4])
    ]
    assert take(database, clock, 4) == wanted[4:8]
    assert take(database, clock, 4) == wanted[8:]
    assert take(database, clock) == []


def test_open_units_of_an_earlier_release_move_to_the_queues_of_models(
    database: Database, clock: Clock
) -> None:
    run, other = plan(database, clock), plan(database, clock, "small-2", seed=1)
    wanted = {unit.id: unit.queue for unit in units(database)}
    done = ids(database, stage="augment")[0]
    with database.write() as connection:
        for queue, before in ((TEACHER, "teacher.teacher"), ("model.small", "student.student")):
            named = UNITS.c.queue == queue
            connection.execute(update(UNITS).where(UNITS.c.run_id == run.id, named).values(queue=before))
        connection.execute(update(UNITS).where(UNITS.c.id == done).values(state=DONE))
    assert take(database, clock) == []
    for each in (run, other, run):
        scheduling.rename_queues(database, each)
    assert {unit.id: unit.queue for unit in units(database)} == wanted | {done: "teacher.teacher"}
    assert take(database, clock)


def test_queues_and_runs_are_kept_apart(database: Database, clock: Clock) -> None:
    plan(database, clock)
    plan(database, clock, "small-2", seed=1)
    assert take(database, clock, queue="retrieve") == ids(database, stage="retrieve", split=TEST)
    assert take(database, clock, queue="model.small") == ids(database, stage="answer", needs=0)
    assert take(database, clock, queue="judge") == []
    assert set(take(database, clock)).isdisjoint(ids(database, "small-2"))


def test_lost_message_is_sent_again_after_patience(database: Database, clock: Clock) -> None:
    plan(database, clock)
    first = take(database, clock)
    clock.advance(PATIENCE)
    assert take(database, clock) == []
    clock.advance(0.1)
    assert take(database, clock) == first


def test_unit_in_a_workers_hands_is_not_sent(database: Database, clock: Clock) -> None:
    plan(database, clock)
    first, second, third = take(database, clock)
    claim_units(database, "worker", [first, second], clock())
    clock.advance(PATIENCE + 1)
    assert take(database, clock) == [third]
    clock.advance(LEASE)
    assert take(database, clock) == [first, second, third]


def test_all_queues_are_asked_for_at_once(database: Database, clock: Clock) -> None:
    """In one query, each with its own room and patience."""
    plan(database, clock)
    take(database, clock)
    retrieve = ids(database, stage="retrieve", split=TEST)
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    event.listen(database.engine, "before_cursor_execute", count)
    clock.advance(PATIENCE + 1)
    rooms = {
        TEACHER: QueueRoom(9, 1e9), "retrieve": QueueRoom(1, PATIENCE), "judge": QueueRoom(9, PATIENCE),
        "model.small": QueueRoom(2, PATIENCE),
    }  # fmt: skip
    taken = scheduling.take_sendable(database, "small-1", rooms, clock())
    assert {queue: len(units) for queue, units in taken.items()} == {
        TEACHER: 0, "retrieve": 1, "judge": 0, "model.small": 2,
    }  # fmt: skip
    assert [unit.unit_id for unit in taken["retrieve"]] == retrieve[:1]
    # BEGIN, the query; BEGIN, the mark. PostgreSQL's driver begins by itself.
    assert asked <= 4
    assert scheduling.take_sendable(database, "small-1", {}, clock()) == {}


def test_run_has_one_leader(database: Database, clock: Clock) -> None:
    plan(database, clock)
    leaders = race(
        8, lambda number: scheduling.claim_feeding(database, "small-1", f"f{number}", clock(), LEASE)
    )
    assert len(set(leaders)) == 1
    [leader] = set(leaders)
    assert scheduling.claim_feeding(database, "small-1", "late", clock(), LEASE) == leader
    clock.advance(LEASE)
    assert scheduling.claim_feeding(database, "small-1", leader, clock(), LEASE) == leader
    clock.advance(LEASE)
    assert scheduling.claim_feeding(database, "small-1", "late", clock(), LEASE) == leader
    clock.advance(0.1)
    assert scheduling.claim_feeding(database, "small-1", "late", clock(), LEASE) == "late"
    assert scheduling.claim_feeding(database, "small-1", leader, clock(), LEASE) == "late"


def test_leader_resigns_or_is_known_to_be_dead(database: Database, clock: Clock) -> None:
    plan(database, clock)
    assert scheduling.claim_feeding(database, "small-1", "a", clock(), LEASE) == "a"
    scheduling.stop_feeding(database, "small-1", "b")
    assert scheduling.claim_feeding(database, "small-1", "b", clock(), LEASE) == "a"
    assert scheduling.claim_feeding(database, "small-1", "b", clock(), LEASE, dead="c") == "a"
    assert scheduling.claim_feeding(database, "small-1", "b", clock(), LEASE, dead="a") == "b"
    scheduling.stop_feeding(database, "small-1", "b")
    assert scheduling.claim_feeding(database, "small-1", "c", clock(), LEASE) == "c"


def test_barrier_opens_once_every_train_unit_is_final(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    hand = Hand(database, run, clock)
    free = ids(database, stage="answer", needs=0)
    behind = [unit.id for unit in units(database, stage="answer") if unit.id not in free]
    last = 0
    for slot in run.slots[TRAIN]:
        for claimed in hand.take(TRAIN, slot.stage, slot.variant):
            assert not scheduling.open_barrier(database, run)
            hand.done(claimed)
            last = claimed.unit_id
    assert [unit.state for unit in units(database, id=last)] == [DONE]
    assert {unit.state for unit in units(database, stage="answer") if unit.id in behind} == {WAITING}
    assert scheduling.open_barrier(database, run)
    needs = {unit.id: unit.needs for unit in units(database, stage="answer")}
    with_retrieval = [unit.id for unit in units(database, stage="answer") if "retrieval" in unit.variant]
    assert needs == {unit: int(unit in with_retrieval) for unit in needs}
    assert not scheduling.open_barrier(database, run)
    assert needs == {unit.id: unit.needs for unit in units(database, stage="answer")}
    assert {unit.needs for unit in units(database, stage="judge")} == {1}


def test_racing_feeders_open_the_barrier_once(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    Hand(database, run, clock).finish_train()
    opened = race(4, lambda number: scheduling.open_barrier(database, run))
    assert sorted(opened) == [False, False, False, True]
    two = units(database, stage="answer", variant="student/2-shot")
    assert {(unit.needs, unit.state) for unit in two} == {(0, READY)}
    both = units(database, stage="answer", variant="student/2-shot/retrieval")
    assert {(unit.needs, unit.state) for unit in both} == {(1, WAITING)}


def test_barrier_and_retrieval_meet_in_any_order(database: Database, clock: Clock) -> None:
    run = plan(database, clock, test=20)
    hand = Hand(database, run, clock)
    hand.finish_train()
    retrieved = hand.take(TEST, "retrieve")

    def act(number: int) -> None:
        if number == 0:
            scheduling.open_barrier(database, run)
        else:
            for claimed in retrieved[number - 1 :: 3]:
                hand.done(claimed)

    race(4, act)
    assert {(unit.needs, unit.state) for unit in units(database, stage="answer")} == {(0, READY)}


def test_failed_train_units_do_not_hold_the_barrier(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    hand = Hand(database, run, clock)
    for claimed in hand.take(TRAIN, "augment"):
        assert not scheduling.open_barrier(database, run)
        hand.failed(claimed)
    assert scheduling.open_barrier(database, run)


def test_run_without_exemplars_opens_nothing(database: Database, clock: Clock) -> None:
    run = plan(database, clock, grid={"shots": [0]})
    Hand(database, run, clock).finish_train()
    before = units(database)
    assert scheduling.open_barrier(database, run)
    assert units(database) == before


def test_run_is_finished_when_every_unit_is_final(database: Database, clock: Clock) -> None:
    run = plan(database, clock, train=1, test=1)
    hand = Hand(database, run, clock)
    assert not scheduling.finish_run(database, run.id, clock())
    hand.finish_train()
    scheduling.open_barrier(database, run)
    for slot in run.slots[TEST]:
        assert not scheduling.finish_run(database, run.id, clock())
        for claimed in hand.take(TEST, slot.stage, slot.variant):
            hand.done(claimed)
    clock.advance(7)
    assert runs.run_state(database, run.id) == (RUNNING, "")
    assert scheduling.finish_run(database, run.id, clock())
    assert runs.load_run(database, run.id).finished_at == clock()
    assert runs.run_state(database, run.id) == (FINISHED, "")
    clock.advance(7)
    assert scheduling.finish_run(database, run.id, clock())
    assert runs.load_run(database, run.id).finished_at == clock() - 7


def test_paused_run_stays_paused(database: Database, clock: Clock) -> None:
    run = plan(database, clock, train=1, test=1, grid={"shots": [0], "retrieval": [True]})
    hand = Hand(database, run, clock)
    hand.failed(hand.take(TRAIN, "augment")[0])
    hand.failed(hand.take(TEST, "retrieve")[0])
    runs.stop_run(database, run.id, "no key", paused=True)
    assert scheduling.finish_run(database, run.id, clock())
    assert runs.run_state(database, run.id) == (PAUSED, "no key")


def test_groups_of_augmentations_are_taken_whole(database: Database, clock: Clock) -> None:
    """The same rows are asked together whatever the room in the queue."""
    run = plan(database, clock, train=50, augment={"batch_size": 4})
    starts = scheduling.group_start_units(database, run)
    wanted = ids(database, stage="augment")
    assert wanted[0] in starts
    taken: list[int] = []
    take = partial(take_sendable, database, run.id, TEACHER, 7)
    while units_taken := take(clock(), PATIENCE, starts, ["augment"]):
        assert units_taken[0][0] in starts
        assert 1 <= len(units_taken) < 7 + 4
        taken += [unit.unit_id for unit in units_taken]
    assert taken == wanted
    sizes = [end - start for start, end in pairwise([*map(wanted.index, sorted(starts)), len(wanted)])]
    assert max(sizes) == 4
    assert scheduling.group_start_units(database, plan(database, clock, "small-2", train=5)) == frozenset()
