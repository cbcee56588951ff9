"""A feeder keeps its lead while a statement over all units of its run lasts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from producer.feeding.feeder import LEADER_LEASE, LONG_LEASE, Feeder
from storage.database import Database
from storage.schema import RUNS
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import Hand, plan


def test_lead_outlasts_statements_over_all_units(
    database: Database, clock: Clock, redis_url: str, tmp_path: Path
) -> None:
    hand = Hand(database, plan(database, clock, augment={"batch_size": 2}), clock)
    left: dict[str, float] = {}

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE run SET barrier_open"):
            left["barrier"] = lead_left(database, clock)
        elif statement.startswith("SELECT unit.id, example.request"):
            left["groups"] = lead_left(database, clock)

    settings = Settings(home=tmp_path, redis_url=redis_url)
    with closing(Feeder(database, hand.run, settings, clock)) as feeder:
        assert feeder.lead() == feeder.name
        event.listen(database.engine, "before_cursor_execute", look)
        feeder.tick()
        assert left == {"groups": LONG_LEASE}
        feeder.lead()
        assert lead_left(database, clock) == LEADER_LEASE
        hand.finish_train()
        feeder.tick()
        assert left["barrier"] == LONG_LEASE


def lead_left(db: Database, clock: Clock) -> float:
    with db.read() as connection:
        until = connection.execute(select(RUNS.c.feeder_until)).scalar_one()
    return float(until) - clock()
