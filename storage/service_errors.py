"""Errors of the database, Redis and the machine, told apart in one place: those that pass, and the others.

    database away, busy, read-only, full    workers hold units and paid answers, and commit when there is room
    Redis away, full, read-only             calls wait; workers connect again; the feeder sends again
    no file, disk or memory at a worker     its units are held for 5 s and go back
    database refuses one unit               it fails as not_storable, its price is booked; one that cannot be
                                            read fails as not_readable
    database refuses whatever the row       the run is paused, or the worker ends with exit code 69
    ledger of a newer release, or damaged   the worker ends with exit code 69 and one line
    clock more than 2 s off PostgreSQL's    a worker does not start there
    worker or feeder stands still           its lease ends and others take its units

An error that passes is no fault of the data. Each function returns a sentence for people, or an empty text if
the error is of another kind.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import sys
from collections.abc import Iterator

from sqlalchemy import exc

MAX_CAUSE = 300
# Of SQLite, by the low byte of its codes.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "the database is busy", sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_PROTOCOL: "the database is busy", sqlite3.SQLITE_NOMEM: "the machine has no memory left",
    sqlite3.SQLITE_INTERRUPT: "the database is away", sqlite3.SQLITE_CANTOPEN: "the database is away",
    sqlite3.SQLITE_IOERR: "the database's disk fails or is full",
    sqlite3.SQLITE_FULL: "the database's disk is full", sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_PERM: "the database is read-only",
}  # fmt: skip
_SQLITE_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_POSTGRES_DAMAGED = ("XX001", "XX002")
# Refusals of a statement whatever its values: no such table or column, no right to it. Of PostgreSQL by the
# classes of access rules and syntax, databases, schemas, authorization, features.
_SQLITE_REFUSALS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH)
_POSTGRES_REFUSALS = ("42", "3D", "3F", "28", "0A")
# Of PostgreSQL, by whole codes or by the class, their first two characters.
_POSTGRES = {
    "53100": "the database's disk is full", "58030": "the database's disk fails or is full",
    "25006": "the database is read-only", "53200": "the database has no memory left",
    "53300": "the database has no connection left", "08": "the database is away",
    "53": "the database is away", "57": "the database is away", "40": "the database is busy",
    "55P03": "the database is busy",
}  # fmt: skip
_MACHINE = {
    errno.EMFILE: "no file can be opened any more, raise `ulimit -n`",
    errno.ENFILE: "no file can be opened any more, raise `fs.file-max`",
    errno.ENOSPC: "a disk of this machine is full",
    errno.EDQUOT: "a disk quota of this machine is used up",
    errno.EROFS: "a disk of this machine is read-only",
    errno.ENOMEM: "this machine has no memory left",
    errno.EIO: "a disk of this machine fails",
}
# In this order: a class stands before those it is derived from.
_REDIS = (
    ("OutOfMemoryError", "Redis is full, raise its maxmemory"),
    ("ReadOnlyError", "Redis is read-only, name the primary and not a replica"),
    ("BusyLoadingError", "Redis is loading its data"),
    ("MasterDownError", "Redis is away"),
    ("AuthenticationError", "Redis refuses the password"),
    ("NoPermissionError", "Redis refuses a command, its user needs more rights"),
    ("ConnectionError", "Redis is away"),
    ("TimeoutError", "Redis is away"),
    ("RedisError", "Redis refuses a command"),
)


def passing_trouble(error: BaseException) -> str:
    """Return what is wrong with a service or the machine, none of which is the fault of a row."""
    return database_trouble(error) or redis_trouble(error) or machine_trouble(error)


def database_trouble(error: BaseException) -> str:
    """Return what keeps the database from answering for now; empty if trying again is useless."""
    if isinstance(error, exc.TimeoutError):
        return "the database has no connection left"
    if not isinstance(error, exc.DBAPIError):
        return ""
    says = _kind(error)
    return f"{says}: {cause(error)}" if says else ""


def is_damaged(error: BaseException) -> bool:
    """Return whether the database, or what is read from it, says that its file is damaged."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return True
    orig = getattr(error, "orig", None)
    if isinstance(orig, sqlite3.Error):
        code = getattr(orig, "sqlite_errorcode", 0) & 0xFF
        return code in _SQLITE_DAMAGED or "Could not decode to UTF-8" in str(orig)
    return getattr(orig, "sqlstate", None) in _POSTGRES_DAMAGED


def database_refusal(error: BaseException) -> str:
    """Return what the database refuses to do for any row, such as to read a table that is not there; empty if
    the error is of another kind."""
    orig = getattr(error, "orig", None)
    if isinstance(orig, sqlite3.Error):
        refused = getattr(orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_REFUSALS
    else:
        refused = (getattr(orig, "sqlstate", None) or "")[:2] in _POSTGRES_REFUSALS
    return f"the database refuses a statement: {cause(error)}" if refused else ""


def is_unstorable(error: BaseException) -> bool:
    """Return whether the database refuses a value, or the driver cannot encode it."""
    refused = isinstance(error, exc.StatementError | UnicodeEncodeError | OverflowError)
    other = database_trouble(error) or database_refusal(error) or is_damaged(error)
    return refused and not other


def redis_trouble(error: BaseException) -> str:
    """Return what is wrong with Redis, or with the machine that asks it, also if Celery's error hides it."""
    if "redis" not in sys.modules:  # commands that never ask Redis do not import it
        return ""
    from redis import exceptions

    for each in _chain(error):
        if not isinstance(each, exceptions.RedisError):
            continue
        if str(each).startswith("MISCONF"):
            return f"Redis cannot write to its disk: {cause(each)}"
        if machine := machine_trouble(each):
            return machine
        says = next(says for name, says in _REDIS if isinstance(each, getattr(exceptions, name)))
        return f"{says}: {cause(each)}"
    return ""


def machine_trouble(error: BaseException) -> str:
    """Return what this machine has no more of, or an empty text."""
    for each in _chain(error):
        if isinstance(each, MemoryError):
            return _MACHINE[errno.ENOMEM]
        if isinstance(each, OSError) and each.errno in _MACHINE:
            return _MACHINE[each.errno]
    return ""


def cause(error: BaseException) -> str:
    """Return the driver's message in one line that any database and terminal takes, without the statement."""
    lines = str(getattr(error, "orig", None) or error).split("\n\n", 1)[0].split()
    text = " ".join(lines)[:MAX_CAUSE] or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in text)


def _kind(error: exc.DBAPIError) -> str:
    if isinstance(error.orig, sqlite3.Error):
        # Without a code it is the driver's own error: of a value, not of the database.
        return _SQLITE.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF, "")
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2], "")
    broken = error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
    return "the database is away" if broken else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that caused it."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
