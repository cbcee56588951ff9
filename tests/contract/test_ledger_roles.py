"""The roles of deploy/roles.sql: what each part may do in the ledger, and what PostgreSQL refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import make_url
from sqlmodel import SQLModel

from models.core.types import Rejection
from producer.progress.status import read_status
from storage.database import Database
from storage.ledger import counters, scheduling
from storage.ledger.runs import load_run
from storage.schema import FINISHED, TEST, TRAIN
from tests.support.ledger_data import (
    NOW,
    LedgerRun,
    answered,
    augmented,
    example,
    judged,
    reasoned,
    retrieved,
)
from tests.support.production import DEPLOY
from tests.support.services import Postgres

FEEDER, WORKER, READER = "starmill_feeder", "starmill_worker", "starmill_reader"
REFUSED = {
    "DELETE FROM run": (FEEDER, WORKER, READER),
    "DELETE FROM unit": (FEEDER, WORKER, READER),
    "DELETE FROM example": (FEEDER, WORKER, READER),
    "DELETE FROM rejection": (FEEDER, WORKER, READER),
    "UPDATE example SET request = 'other'": (FEEDER, WORKER, READER),
    "UPDATE run SET config = '{}'": (FEEDER, WORKER, READER),
    "UPDATE run SET budget_nano_usd = NULL": (FEEDER, WORKER, READER),
    "INSERT INTO run (id) VALUES ('forged')": (FEEDER, WORKER, READER),
    "UPDATE run SET feeder = 'me'": (WORKER, READER),
    "UPDATE unit SET state = 'done'": (READER,),
    "INSERT INTO lease DEFAULT VALUES": (READER,),
    "DELETE FROM generation": (READER,),
    "UPDATE alembic_version SET version_num = '0001'": (FEEDER, WORKER, READER),
    "CREATE TABLE own (id int)": (FEEDER, WORKER, READER),
    "DROP TABLE unit": (FEEDER, WORKER, READER),
    "ALTER ROLE starmill_worker SUPERUSER": (FEEDER, WORKER, READER),
}


@pytest.fixture(scope="module")
def ledger(postgres: Postgres) -> Iterator[str]:
    with postgres.new_database() as url:
        with closing(Database(url)) as db:
            db.migrate()
        with psycopg.connect(url) as owner:
            for _ in range(2):  # after an upgrade once more
                owner.execute((DEPLOY / "roles.sql").read_text())
        yield url


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.mark.parametrize(("role", "statement"), [(role, each) for each in REFUSED for role in REFUSED[each]])
def test_role_is_refused(ledger: str, role: str, statement: Any) -> None:
    with psycopg.connect(as_role(ledger, role)) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize("role", [FEEDER, WORKER, READER])
def test_role_reads_every_table(ledger: str, role: str) -> None:
    with psycopg.connect(as_role(ledger, role)) as connection:
        for name in SQLModel.metadata.tables:
            connection.execute(f'SELECT count(*) FROM "{name}"')


def test_worker_does_units_that_the_feeder_releases_and_the_reader_counts(ledger: str) -> None:
    with (
        closing(Database(ledger)) as owner,
        closing(Database(as_role(ledger, FEEDER))) as feeder,
        closing(Database(as_role(ledger, WORKER))) as worker,
        closing(Database(as_role(ledger, READER))) as reader,
    ):
        rows = [example(row) for row in range(2)]
        planned = LedgerRun.plan(owner, rows, rows, "small-1")
        done, fed = replace(planned, db=worker), replace(planned, db=feeder)
        assert scheduling.claim_feeding(feeder, "small-1", "feeder", NOW, 60.0) == "feeder"
        done.reject(TRAIN, "augment", Rejection("null", "empty"), "")
        done.finish(TRAIN, "augment", augmented)
        done.finish(TRAIN, "retrieve", retrieved)
        done.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=unit.example.row == 0))
        done.finish(TRAIN, "rationalize", lambda unit: reasoned(unit, correct=True))
        assert fed.open_grid()
        done.finish(TEST, "answer", lambda unit: answered(unit.example.reference))
        done.finish(TEST, "judge", judged)
        counters.fold(feeder, "small-1", 100)
        fed.close()
        status = read_status(reader, load_run(reader, "small-1"), NOW)
        assert (status.state, status.left, status.failed) == (FINISHED, 0, 0)
