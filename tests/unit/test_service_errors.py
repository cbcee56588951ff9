"""Errors of the database, Redis and the machine: those that pass are told from those that never will."""

from __future__ import annotations

import errno
import logging
import sqlite3

import pytest
from kombu.exceptions import OperationalError as BrokerError
from redis import exceptions as redis_errors
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storage.logs import OncePerMinute
from storage.service_errors import (
    cause,
    database_refusal,
    database_trouble,
    is_damaged,
    is_unstorable,
    passing_trouble,
    redis_trouble,
)
from tests.support.clock import Clock


def sqlite_error(code: int, message: str = "said by SQLite") -> DBAPIError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return DBAPIError("INSERT ...", {}, error)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (sqlite3.SQLITE_BUSY, "the database is busy"),
        (sqlite3.SQLITE_FULL, "the database's disk is full"),
        (sqlite3.SQLITE_READONLY | 3 << 8, "the database is read-only"),
        (sqlite3.SQLITE_IOERR | 19 << 8, "the database's disk fails or is full"),
        (sqlite3.SQLITE_CANTOPEN, "the database is away"),
    ],
)
def test_sqlite_errors_that_pass(code: int, says: str) -> None:
    assert database_trouble(sqlite_error(code)) == f"{says}: said by SQLite"
    assert not is_unstorable(sqlite_error(code))


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT | 1 << 8]
)
def test_damage_never_passes(code: int) -> None:
    assert is_damaged(sqlite_error(code))
    assert database_trouble(sqlite_error(code)) == ""


@pytest.mark.parametrize(
    ("statement", "value"),
    [("SELECT * FROM nowhere", 1), ("SELECT :value FROM sqlite_master WHERE nowhere = 1", 1),
     ("SELECT :value", object()), ("SELECT :value", 10**30), ("SELECT :value", "caf\ud83d")],
)  # fmt: skip
def test_errors_of_a_value_or_a_statement_are_for_good(statement: str, value: object) -> None:
    """A refused statement would be refused for any row, a value is its own row's fault."""
    engine = create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises((SQLAlchemyError, ValueError, OverflowError)) as raised,
    ):
        connection.execute(text(statement), {"value": value})
    engine.dispose()
    assert passing_trouble(raised.value) == ""
    refused = database_refusal(raised.value)
    assert bool(refused) == (value == 1)
    assert is_unstorable(raised.value) != bool(refused)
    assert not refused or refused.startswith("the database refuses a statement: no such ")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (redis_errors.OutOfMemoryError("command not allowed"), "Redis is full"),
        (redis_errors.ReadOnlyError("You can't write against a read only replica."), "Redis is read-only"),
        (redis_errors.BusyLoadingError("loading"), "Redis is loading its data"),
        (redis_errors.ResponseError("MISCONF Redis is configured to save"), "Redis cannot write to its disk"),
        (redis_errors.ConnectionError("refused"), "Redis is away"),
        (redis_errors.NoPermissionError("no"), "Redis refuses a command"),
    ],
)
def test_redis_errors_name_what_is_wrong(error: Exception, says: str) -> None:
    assert redis_trouble(error).startswith(says)
    hidden = BrokerError("broker")
    hidden.__cause__ = error
    assert redis_trouble(hidden).startswith(says)


def test_machine_that_cannot_open_a_connection_is_named() -> None:
    error = redis_errors.ConnectionError("Error 24 connecting to localhost. Too many open files.")
    error.__context__ = OSError(errno.EMFILE, "Too many open files")
    assert redis_trouble(error) == "no file can be opened any more, raise `ulimit -n`"


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EMFILE, "raise `ulimit -n`"), (errno.ENOSPC, "is full"), (errno.ENOENT, "")]
)
def test_machine_errors_are_told_from_others(number: int, says: str) -> None:
    trouble = passing_trouble(OSError(number, "said by the machine"))
    assert says in trouble
    assert bool(trouble) == bool(says)


def test_cause_is_one_clean_line_without_the_statement() -> None:
    error = DBAPIError(
        "INSERT secret", {"a": 1}, ValueError("first\x1b[31m line\nsecond\0 \ud83d" + "x" * 999)
    )
    line = cause(error)
    assert line.startswith("first?[31m line second? ?")
    assert len(line) <= 300
    assert "secret" not in line


def test_the_same_trouble_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(0.0)
    trouble_log = OncePerMinute(logging.getLogger("trouble"), clock)
    for _ in range(90):
        trouble_log.warning(f"Redis is full: at {clock()}", "waiting")
        trouble_log.warning("the database is away: refused")
        clock.advance(1)
    assert [record.message for record in caplog.records] == [
        "Redis is full: at 0.0; waiting", "the database is away: refused",
        "Redis is full: at 60.0; waiting", "the database is away: refused",
    ]  # fmt: skip
