"""The journal of a worker: what lies on disk while answers wait for the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.answer_journal import AnswerJournal, journal_folder
from storage.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journals"


def row(key: str, answer: str = "yes") -> dict[str, Any]:
    return {"key": key, "answer": answer}


def lines(folder: Path) -> list[list[str]]:
    """Return the keys that each file holds, oldest file first."""
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_ctime_ns)
    return [[json.loads(line)["key"] for line in path.read_bytes().splitlines()] for path in files]


def test_each_answer_is_a_line_that_nobody_else_reads(folder: Path) -> None:
    journal = AnswerJournal(folder)
    journal.append(row("a", "two\nlines, \u2028 and \ud800"))
    journal.append(row("b"))
    [path] = folder.iterdir()
    first, second = path.read_text().splitlines()
    assert json.loads(first) == row("a", "two\nlines, \u2028 and \ud800")
    assert json.loads(second) == row("b")
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_nothing_is_made_before_the_first_answer(folder: Path) -> None:
    AnswerJournal(folder).close()
    assert not folder.exists()


def test_file_is_emptied_once_all_its_answers_are_in_the_ledger(folder: Path) -> None:
    journal = AnswerJournal(folder)
    for key in "abc":
        journal.append(row(key))
    journal.forget(["a", "c", "never written"])
    assert lines(folder) == [["a", "b", "c"]]
    journal.forget(["b"])
    assert lines(folder) == [[]]
    journal.append(row("d"))
    assert lines(folder) == [["d"]]


def test_a_long_file_gets_a_successor_and_goes(folder: Path) -> None:
    journal = AnswerJournal(folder, max_bytes=100)
    for number in range(1000):
        journal.append(row(f"{number}"))
        if number >= 5:  # some always wait, so that no file is ever whole in the ledger while it is written
            journal.forget([f"{number - 5}"])
    assert sum(map(len, lines(folder))) < 20
    assert {f"{number}" for number in range(995, 1000)} <= {key for each in lines(folder) for key in each}


def test_an_answer_that_was_bought_again_needs_one_commit(folder: Path) -> None:
    journal = AnswerJournal(folder)
    journal.append(row("a"))
    journal.append(row("a"))
    assert lines(folder) == [["a", "a"]]
    journal.forget(["a"])
    assert lines(folder) == [[]]


@pytest.mark.parametrize(("committed", "left"), [("ab", []), ("a", [["a", "b"]])])
def test_a_clean_stop_leaves_only_what_the_ledger_lacks(
    folder: Path, committed: str, left: list[list[str]]
) -> None:
    journal = AnswerJournal(folder)
    journal.append(row("a"))
    journal.append(row("b"))
    journal.forget(committed)
    journal.close()
    assert lines(folder) == left


def test_a_disk_that_takes_nothing_stops_nobody(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.parent.mkdir()
    folder.write_text("no folder")
    journal = AnswerJournal(folder)
    journal.append(row("a"))
    journal.append(row("b"))
    journal.forget(["a"])
    journal.close()
    [line] = caplog.messages
    assert str(folder) in line
    assert "paid again if the worker is killed" in line


def test_each_ledger_has_a_folder_of_its_own(tmp_path: Path) -> None:
    urls = (
        None,
        "postgresql://me:secret@host/db",
        "postgresql://host/other",
        f"sqlite:///{tmp_path}/other.db",
    )
    folders = [journal_folder(Settings(home=tmp_path, database_url=url)) for url in urls]
    assert len(set(folders)) == len(urls)
    assert folders[0] == tmp_path / "journals"
    # The same ledgers: one without a password, and that of the home by its address.
    same = ("postgresql://host/db", f"sqlite:///{tmp_path}/ledger.db")
    assert [journal_folder(Settings(home=tmp_path, database_url=url)) for url in same] == folders[1::-1]
