"""Answers on disk before they are in the ledger, so that a worker that is killed loses none that had arrived.

A worker appends each answer to its journal before it does anything else with it: a line with the row of the
generation as JSON. The file is locked while the worker lives. Whoever finds a journal without a lock takes
its answers into the ledger. A line is one write to the page cache, which outlives any process; a power cut
may lose the last second.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from models.adapters.private_files import private_folder
from storage.database import Database
from storage.ledger import purchases
from storage.logs import OncePerMinute
from storage.service_errors import cause, is_unstorable, machine_trouble
from storage.settings import Settings

log = logging.getLogger(__name__)
trouble_log = OncePerMinute(log)
# A file that is longer gets a successor, and is removed once all its answers are in the ledger.
MAX_BYTES = 4 * 2**20
SUFFIX = ".jsonl"
Row = dict[str, Any]


def journal_folder(settings: Settings) -> Path:
    """Return the folder of the journals on this machine; each ledger has its own."""
    folder, url = settings.root / "journals", make_url(settings.database)
    if url.database == str(settings.root / "ledger.db"):
        return folder
    name = hashlib.sha256(f"{url.host}:{url.port}/{url.database}".encode()).hexdigest()[:12]
    return folder / name


@dataclass(eq=False, slots=True)
class _File:
    """An open journal; `uncommitted` of its answers are not known to be in the ledger."""

    path: Path
    descriptor: int
    size: int = 0
    uncommitted: int = 0

    def write(self, line: bytes) -> None:
        """Append all of the line or nothing. Raise OSError."""
        written = os.write(self.descriptor, line)
        if written < len(line):
            self.truncate(self.size)
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes were written")
        self.size += written

    def truncate(self, size: int = 0) -> None:
        os.ftruncate(self.descriptor, size)
        self.size = size

    def close(self) -> None:
        """Give up the lock. Remove the file unless it has answers that the ledger may lack."""
        if not self.uncommitted:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class AnswerJournal:
    """The journal of one worker process. It has files only once there was an answer. Not thread-safe."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._current: _File | None = None
        # The file in which an answer stands that is not in the ledger yet, by its key.
        self._files: dict[str, _File] = {}

    def append(self, row: Row) -> None:
        """Write an answer to disk. If the disk refuses it, that is logged, and the worker goes on."""
        line = json.dumps(row).encode() + b"\n"
        try:
            file = self._writable()
            file.write(line)
        except OSError as error:
            self._log(error)
            return
        file.uncommitted += 1
        self.forget([row["key"]])  # an earlier answer to the same request
        self._files[row["key"]] = file

    def forget(self, keys: Iterable[str]) -> None:
        """Drop answers that are in the ledger."""
        for key in keys:
            file = self._files.pop(key, None)
            if file:
                file.uncommitted -= 1
                if not file.uncommitted:
                    self._drop(file)

    def close(self) -> None:
        """Leave no file, unless it has answers that the ledger may lack."""
        for file in {*self._files.values(), *([self._current] if self._current else ())}:
            file.close()
        self._current, self._files = None, {}

    def _writable(self) -> _File:
        if self._current is None or self._current.size >= self._max_bytes:
            self._current = _create(self._folder)
        return self._current

    def _drop(self, file: _File) -> None:
        try:
            if file is self._current:
                file.truncate()
            else:
                file.close()
        except OSError as error:
            self._log(error)

    def _log(self, error: OSError) -> None:
        trouble = machine_trouble(error) or f"{self._folder} cannot be written: {cause(error)}"
        trouble_log.warning(trouble, "answers that the ledger lacks are paid again if the worker is killed")


def _create(folder: Path) -> _File:
    """Create a file that is locked before anybody can see it."""
    private_folder(folder)
    path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
    unseen = path.with_suffix(".new")
    descriptor = os.open(unseen, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unseen.rename(path)
    except OSError:
        os.close(descriptor)
        unseen.unlink()
        raise
    return _File(path, descriptor)


def take_in_answers(db: Database, folder: Path, now: float) -> int:
    """Take the answers of workers that have ended into the ledger, and return their number.

    A file is removed when all its answers are committed. No answer counts twice if this is killed before.
    """
    taken = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken += _take_in_file(db, path, file.read(), now)
        except (BlockingIOError, FileNotFoundError):
            continue  # its worker lives, or another process takes it in
        except OSError as error:
            trouble_log.warning(f"{path} cannot be read: {cause(error)}", "its answers may be paid again")
    return taken


def _take_in_file(db: Database, path: Path, content: bytes, now: float) -> int:
    rows, unreadable = _rows(content)
    refused = _store(db, rows, now) if rows else 0
    if unreadable or refused:
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        log.warning(
            "%d lines of a journal of answers cannot be read or stored; the file is kept as %s",
            unreadable + refused, aside,
        )  # fmt: skip
    else:
        path.unlink()
    if rows:
        log.info("%d answers of a worker that was killed are in the ledger", len(rows) - refused)
    return len(rows) - refused


# Columns that the journals of earlier releases lack.
_LATER_COLUMNS: Row = {"served": None}


def _rows(content: bytes) -> tuple[list[Row], int]:
    """Return the rows and the number of unreadable lines. A line that ends without a newline was torn by the
    kill, and is ignored."""
    rows, unreadable = [], 0
    *lines, _torn = content.split(b"\n")
    for line in lines:
        try:
            row = {**_LATER_COLUMNS, **json.loads(line)}
            rows.append({name: row[name] for name in purchases.PURCHASE_COLUMNS})
        except (ValueError, RecursionError, TypeError, KeyError):
            unreadable += 1
    return rows, unreadable


def _store(db: Database, rows: Sequence[Row], now: float) -> int:
    """Store the rows. Return the number of those that the database refuses for good."""
    try:
        purchases.take_in(db, rows, now)
    except Exception as error:
        if not is_unstorable(error):
            raise
        return 1 if len(rows) == 1 else sum(_store(db, [row], now) for row in rows)
    return 0
