"""A ledger file that is damaged: every command says so in one line and ends with 2."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.database import Database
from tests.support.clock import Clock
from tests.support.pipeline import Home
from tests.support.small_run import Hand, plan

COMMANDS = {
    "runs": ("runs",),
    "status": ("status",),
    "failures": ("failures", "small-1"),
    "report": ("report", "small-1"),
    "export": ("export", "small-1", "--what", "synthetic", "-o", "out.jsonl"),
    "retry": ("retry", "small-1"),
    "pause": ("pause", "small-1"),
    "show": ("show", "small-1", "q1"),
    "run": ("run", "demo", "--local"),
}
RNG = random.Random(7)
PAGE = 4096


def overwritten(whole: bytes) -> bytes:
    """Random bytes in the middle."""
    start, end = len(whole) // 5, 4 * len(whole) // 5
    return whole[:start] + RNG.randbytes(end - start) + whole[end:]


def scattered(whole: bytes) -> bytes:
    """A few random bytes in many pages, behind the first."""
    damaged = bytearray(whole)
    for _ in range(60):
        start = RNG.randrange(PAGE, len(whole) - 200)
        damaged[start : start + 200] = RNG.randbytes(200)
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "overwritten": overwritten,
    "scattered": scattered,
    "truncated": lambda whole: whole[: len(whole) * 2 // 3],
    "no database": lambda _: b"These are notes, and no database.\n" * 500,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a ledger with half a run in it."""
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    db, clock = Database(f"sqlite:///{path}"), Clock(time.time())
    db.migrate()
    Hand(db, plan(db, clock, train=100, test=20), clock).finish_train()
    db.close()
    return path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_command_says_that_the_ledger_is_damaged(damage: str, whole: bytes, tmp_path: Path) -> None:
    damaged = DAMAGES[damage](whole)
    for name, command in COMMANDS.items():
        home = Home(tmp_path / name.replace(" ", "-"))
        home.path.mkdir()
        (home.path / "ledger.db").write_bytes(damaged)
        done = home.starmill(*command, expect=2)
        [line] = done.stderr.splitlines()
        assert line.startswith("starmill: the database sqlite:///"), name
        assert "is damaged: " in line, name
        assert done.stdout == "", name
        shutil.rmtree(home.path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_doctor_says_what_is_damaged(damage: str, whole: bytes, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    (home.path / "ledger.db").write_bytes(DAMAGES[damage](whole))
    [finding] = [each for each in home.json("doctor", expect=2)["findings"] if each["name"] == "ledger file"]
    assert not finding["ok"]
    assert finding["needed"]
    assert "put a backup in its place" in finding["says"]


def test_doctor_says_that_a_ledger_is_whole(whole: bytes, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    (home.path / "ledger.db").write_bytes(whole)
    [finding] = [each for each in home.json("doctor")["findings"] if each["name"] == "ledger file"]
    assert finding["ok"]
    assert "no damage" in finding["says"]
