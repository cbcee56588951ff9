"""A worker process keeps its lease, and gives back what it has lost from hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from storage.database import Database
from storage.ledger import claims
from storage.schema import LEASES, READY, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.services import closed_port
from tests.support.small_run import claim_units, ids, plan, units
from worker.ledger_access import LedgerAccess
from worker.runtime import Runtime

SECONDS = 20.0


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def runtime(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Runtime]:
    url = database.url.render_as_string(hide_password=False)
    opened = Runtime(Settings(home=tmp_path, database_url=url, lease_seconds=SECONDS), clock=clock)
    plan(database, clock, train=20)
    yield opened
    if opened._thread.is_alive():
        opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


def augment(db: Database) -> list[int]:
    return ids(db, stage="augment", split=TRAIN)


def leases_of(db: Database) -> dict[str, float]:
    with db.read() as connection:
        return {row.owner: row.expires_at for row in connection.execute(select(LEASES))}


def test_lost_units_are_given_back_and_others_kept(database: Database, runtime: Runtime) -> None:
    held, lost = augment(database)[:2]

    async def act(ledger: LedgerAccess) -> None:
        with ledger.in_hand([held]):
            await ledger.claim([held])
            with ledger.in_hand([lost]):
                await ledger.claim([lost])
                await ledger.release_lost()
                assert [units(database, id=unit)[0].lease_owner for unit in (held, lost)] == [
                    ledger.owner
                ] * 2
            await ledger.release_lost()

    runtime.wait_for(act(runtime.ledger))
    [first, second] = [units(database, id=unit)[0] for unit in (held, lost)]
    assert (first.lease_owner, second.lease_owner) == (runtime.owner, None)
    assert (second.state, second.attempts, second.sent_at) == (READY, 1, None)


def test_units_that_are_being_claimed_are_not_lost(database: Database, runtime: Runtime) -> None:
    kept: list[bool] = []

    async def message(ledger: LedgerAccess, unit_id: int) -> None:
        for _ in range(5):
            with ledger.in_hand([unit_id]) as free:
                claimed = await ledger.claim(free)
                await asyncio.sleep(0.01)
                owned = await ledger.once(claims.owned_units, ledger.owner)
                kept.append(not claimed or unit_id in owned)
                await ledger.release(claimed)

    async def act(ledger: LedgerAccess) -> None:
        messages = asyncio.gather(*(message(ledger, unit_id) for unit_id in augment(database)))
        while not messages.done():
            await ledger.release_lost()
        await messages

    runtime.wait_for(act(runtime.ledger))
    assert len(kept) == 100
    assert all(kept)


def test_unit_in_hand_is_not_claimed_by_another_message(
    database: Database, clock: Clock, runtime: Runtime
) -> None:
    """Else the first could commit or release what only the second holds."""
    unit_id, other = augment(database)[:2]

    async def act(ledger: LedgerAccess) -> None:
        with ledger.in_hand([unit_id]) as first:
            assert len(await ledger.claim(first)) == 1
            clock.advance(SECONDS + 1)
            assert len(claim_units(database, "thief", [unit_id], clock())) == 1
            claims.release_units(database, "thief", [unit_id])
            with ledger.in_hand([unit_id, other]) as second:
                assert second == [other]
                # What it does not get may be claimed by a later message at once.
                claim_units(database, "thief", [other], clock())
                assert await ledger.claim(second) == []
                with ledger.in_hand([other]) as later:
                    assert later == [other]
        with ledger.in_hand([unit_id]) as third:
            assert len(await ledger.claim(third)) == 1

    runtime.wait_for(act(runtime.ledger))


def test_released_unit_can_come_back_while_its_first_message_goes_on(
    database: Database, runtime: Runtime
) -> None:
    unit_id, other = augment(database)[:2]

    async def act(ledger: LedgerAccess) -> None:
        first = ExitStack()
        claimed = await ledger.claim(first.enter_context(ledger.in_hand([unit_id, other])))
        await ledger.release(claimed[:1])
        with ledger.in_hand([unit_id]) as again:
            assert len(await ledger.claim(again)) == 1
            first.close()
            await ledger.release_lost()
            assert await ledger.once(claims.owned_units, ledger.owner) == [unit_id]

    runtime.wait_for(act(runtime.ledger))


def test_nothing_is_claimed_under_a_lease_that_has_ended(
    database: Database, clock: Clock, runtime: Runtime
) -> None:
    first, second = augment(database)[:2]

    async def act(ledger: LedgerAccess) -> None:
        assert leases_of(database) == {}
        with ledger.in_hand([first, second]):
            await ledger.claim([first])
            assert leases_of(database) == {ledger.owner: clock() + SECONDS}
            clock.advance(3 * SECONDS)  # the machine slept
            await ledger.claim([second])
            assert leases_of(database) == {ledger.owner: clock() + SECONDS}

    runtime.wait_for(act(runtime.ledger))
    assert claim_units(database, "other", [first, second], clock()) == []


def test_stopped_worker_leaves_neither_units_nor_a_lease(database: Database, runtime: Runtime) -> None:
    wanted = augment(database)

    async def act(ledger: LedgerAccess) -> None:
        with ledger.in_hand(wanted):
            assert len(await ledger.claim(wanted)) == len(wanted)

    runtime.wait_for(act(runtime.ledger))
    runtime.close()
    assert {(unit.lease_owner, unit.attempts) for unit in units(database, stage="augment")} == {(None, 0)}
    assert leases_of(database) == {}


def test_units_of_others_are_left_until_all_had_time_to_extend_their_leases(
    database: Database, runtime: Runtime, clock: Clock
) -> None:
    """While the database was away, nobody could: a live worker may hold answers that it cannot store yet."""
    free, held = augment(database)[:2]
    assert claim_units(database, "lapsed", [held], clock())

    async def claimed(ledger: LedgerAccess) -> list[int]:
        with ledger.in_hand([free, held]) as wanted:
            return [unit.unit_id for unit in await ledger.claim(wanted)]

    async def meet_outage(ledger: LedgerAccess) -> None:
        with closed_port() as port:
            away = Database(f"postgresql://postgres@127.0.0.1:{port}/ledger")
            with pytest.raises(OperationalError):
                await ledger.once(lambda _: away.server_start())

    runtime.wait_for(runtime.ledger.extend_lease())
    clock.advance(4 * SECONDS)
    runtime.wait_for(meet_outage(runtime.ledger))
    assert runtime.wait_for(claimed(runtime.ledger)) == [free]
    clock.advance(SECONDS)
    assert runtime.wait_for(claimed(runtime.ledger)) == [held]
