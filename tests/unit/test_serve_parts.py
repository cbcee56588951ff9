"""The parts of the run page that need no server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from producer.progress.status import LimitWatch, Status, read_status
from producer.serve import snapshots as readings_module
from producer.serve.auth import MAX_SESSIONS, SESSION_SECONDS, Sessions
from producer.serve.snapshots import REST, SnapshotCache
from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.runs import Run
from storage.password_tries import FREE_TRIES, MAX_PAUSE, TooManyTries
from storage.settings import load_settings
from tests.support.clock import Clock
from tests.support.small_run import plan


def test_wrong_passwords_cost_more_and_more_time(clock: Clock) -> None:
    sessions = Sessions("right", clock)
    pauses = []
    for _ in range(12):
        try:
            assert not sessions.accepts("wrong", "10.0.0.1")
        except TooManyTries as error:
            pauses.append(error.seconds)
            with pytest.raises(TooManyTries):
                sessions.accepts("right", "10.0.0.1")
            clock.advance(error.seconds)
            assert not sessions.accepts("wrong", "10.0.0.1")
    assert pauses == [1, 2, 4, 8, 16, 32, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE][: len(pauses)]
    assert len(pauses) == 12 - FREE_TRIES
    # Others are not held up, and who waits gets in.
    assert sessions.accepts("right", "10.0.0.2")
    clock.advance(MAX_PAUSE)
    assert sessions.accepts("right", "10.0.0.1")
    assert not sessions.accepts("wrong", "10.0.0.1")


def test_a_network_of_ipv6_is_one_address(clock: Clock) -> None:
    sessions = Sessions("right", clock)
    for last in range(FREE_TRIES):
        assert not sessions.accepts("", f"2001:db8::{last}")
    with pytest.raises(TooManyTries):
        sessions.accepts("right", "2001:db8::ffff")
    assert sessions.accepts("right", "2001:db8:1::1")


def test_sessions_end(clock: Clock) -> None:
    sessions = Sessions("right", clock)
    first, second = sessions.open_session(), sessions.open_session()
    assert first != second
    sessions.end_session(first)
    assert [sessions.knows(token) for token in (first, second, "", "x")] == [False, True, False, False]
    clock.advance(SESSION_SECONDS)
    assert not sessions.knows(second)
    oldest = sessions.open_session()
    for _ in range(MAX_SESSIONS):
        sessions.open_session()
    assert not sessions.knows(oldest)


class Counted:
    """Counts of real runs that take `seconds` of the clock."""

    def __init__(self, clock: Clock, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times: list[str] = []
        real = read_status

        def read(db: Database, run: Run, now: float, limits: LimitWatch | None = None) -> Status:
            self.times.append(run.id)
            reading = real(db, run, now, limits)
            clock.advance(seconds)
            return reading

        monkeypatch.setattr(readings_module, "read_status", read)


def test_viewers_share_one_reading_and_reading_takes_a_tenth_of_the_time(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    db.migrate()
    plan(db, clock, "one")
    plan(db, clock, "two", seed=1)
    seconds = 3.0
    counted = Counted(clock, seconds, monkeypatch)

    async def watch() -> None:
        snapshots = SnapshotCache(db, LimitWatch(load_settings()), clock)
        together = await asyncio.gather(*(snapshots.read("one") for _ in range(50)))
        assert counted.times == ["one"]
        assert len({id(each) for each in together}) == 1
        await snapshots.read("two")
        begin, before = clock(), len(counted.times)
        for _ in range(2000):
            clock.advance(1)
            await asyncio.gather(*(snapshots.read(run) for run in ("one", "two", "one")))
        spent = seconds * (len(counted.times) - before)
        assert 0.06 < spent / (clock() - begin) <= 0.1
        with pytest.raises(KeyError):
            await snapshots.read("three")
        snapshots.close()

    asyncio.run(watch())
    assert REST > 10
    db.close()


def test_a_finished_run_is_counted_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    db.migrate()
    run = plan(db, clock, "done", train=0, test=0)
    assert scheduling.finish_run(db, run.id, clock())
    counted = Counted(clock, 0.01, monkeypatch)

    async def watch() -> None:
        snapshots = SnapshotCache(db, LimitWatch(load_settings()), clock)
        for _ in range(5):
            clock.advance(1000)
            assert (await snapshots.read("done")).status.state == "finished"
        runs.start_run(db, "done", clock())
        clock.advance(1000)
        assert (await snapshots.read("done")).status.state == "running"
        snapshots.close()

    asyncio.run(watch())
    assert counted.times == ["done", "done"]
    db.close()
