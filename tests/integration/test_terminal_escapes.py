"""No command sends what a server, a model or a file of data writes to steer a terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from sqlalchemy import select, update
from typer.core import TyperGroup

import models
import producer
import storage
import worker
from models.core.types import Rejection
from producer.cli.commands import app
from producer.safe_console import confirm
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import EXAMPLES, GENERATIONS, REJECTIONS, RUNS, TEST, TRAIN, UNITS
from tests.support.chores import write_jsonl
from tests.support.command_line import command_line, starmill
from tests.support.experiment_files import EXPLAIN, with_steps
from tests.support.ledger_data import LedgerRun, answered, augmented, example, judged, reasoned, retrieved

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt\u2066\r\x08\x7f"
SENT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PACKAGES = {Path(package.__file__ or "").parent for package in (models, producer, storage, worker)}
ID = f"q{EVIL}"


def plan_evil(db: Database, run_id: str, right: bool) -> None:
    rows = [example(row, f"sort {row} {EVIL}", f"f({row}, '{EVIL}')", f"{ID}{row}") for row in range(3)]
    teacher = {"backend": "openai", "model": f"large {EVIL}"}
    run = LedgerRun.plan(db, rows, rows, run_id, teacher=teacher)
    run.reject(TRAIN, "augment", Rejection("null", EVIL), EVIL)
    run.finish(TRAIN, "augment", lambda unit: "refusal" if unit.example.row == 1 else augmented(unit))
    run.finish(TRAIN, "retrieve", evil_passage)
    run.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=unit.example.row == 0))
    run.finish(TRAIN, "rationalize", lambda unit: reasoned(unit, correct=right))
    assert run.open_grid()
    run.finish(
        TEST, "answer", lambda unit: answered(unit.example.reference if right else f"wrong {EVIL}", [0])
    )
    run.finish(TEST, "judge", judged)
    run.close()


def evil_passage(unit: ClaimedUnit) -> dict[str, Any]:
    stored = retrieved(unit)
    assert isinstance(stored, dict)
    [passage] = stored["passages"]
    words = {name: f"{value} {EVIL}" for name, value in passage.items() if isinstance(value, str)}
    return {**stored, "passages": [passage | words]}


@pytest.fixture(scope="module")
def evil_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ, and files of data, every text of which is full of escapes."""
    folder = tmp_path_factory.mktemp("evil")
    db = Database(f"sqlite:///{folder / 'home' / 'ledger.db'}")
    db.migrate()
    for run_id, right in (("one-1", True), ("two-1", False)):
        plan_evil(db, run_id, right)
    with db.write() as connection:
        connection.execute(update(UNITS).where(UNITS.c.reason.is_not(None)).values(detail=EVIL * 9))
        connection.execute(update(RUNS).values(message=EVIL))
        connection.execute(update(REJECTIONS).values(detail=EVIL))
        connection.execute(update(GENERATIONS).values(answer=EVIL, model=EVIL))
        for key, request in connection.execute(select(GENERATIONS.c.key, GENERATIONS.c.request)).all():
            asked = request | {"messages": [{"role": "user", "content": EVIL}], "model": EVIL}
            connection.execute(update(GENERATIONS).where(GENERATIONS.c.key == key).values(request=asked))
        assert connection.scalars(select(EXAMPLES.c.question_id)).first() == f"{ID}0"
    rows = [{"question_id": f"{ID}{row}", "prediction": f"x {EVIL}", "reference": f"y {EVIL}",
             "rationale": f"{EVIL}. The answer is {EVIL}", "query": EVIL}
            for row in range(3)]  # fmt: skip
    db.close()
    write_jsonl(folder / "rows.jsonl", rows)
    write_jsonl(folder / f"columns{EVIL}.jsonl", [{f"question {EVIL}": EVIL}])
    write_jsonl(folder / "passages.jsonl", [{"id": EVIL, "name": EVIL, "signature": EVIL, "text": EVIL}])
    columns = EXPLAIN | {"data": f"columns{EVIL}.jsonl"}
    (folder / "columns.yaml").write_text(yaml.safe_dump(columns))
    searched = with_steps(find={"kind": "retrieve", "query": "{{ query }}"}) | {
        "data": "rows.jsonl",
        "passages": {"source": "jsonl", "path": "passages.jsonl", "method": "bm25"},
    }
    (folder / "search.yaml").write_text(yaml.safe_dump(searched))
    (folder / "bad.jsonl").write_text(f'{{"question_id": "{EVIL}"\n')
    return folder


@pytest.fixture
def evil(evil_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    shutil.copytree(evil_folder, tmp_path, dirs_exist_ok=True)
    with command_line(tmp_path, monkeypatch) as db:
        yield db


COMMANDS = [
    ["runs"], ["status"], ["failures", "one"], ["show", "one", f"{ID}0"], ["show", "two", f"{ID}1"],
    ["diff", "one", "two"], ["quality", "two"],
    *(["report", "two", "--format", name] for name in ("markdown", "latex", "csv", "json", "html")),
    ["score", "rows.jsonl"], ["audit", "rows.jsonl", "--reference", "rows.jsonl"],
    ["export", "one", "-o", f"out{ID}.jsonl"], ["pause", "one"], ["retry", "one"], ["doctor"],
    ["runs", "--json"], ["status", "--json"], ["failures", "one", "--json"],
    ["show", "one", f"{ID}0", "--json"],
    ["diff", "one", "two", "--json"], ["quality", "two", "--json"],
    ["audit", "rows.jsonl", "--reference", "rows.jsonl", "--json"],
    # What is refused names what was given.
    ["show", "one", EVIL], ["status", EVIL], ["failures", "one", "--reason", EVIL], ["run", EVIL], [EVIL],
    ["score", "bad.jsonl"], ["score", EVIL], ["task", "check", EVIL], ["report", "one", "--format", EVIL],
    ["index", "search", EVIL, "--set", EVIL], ["run", "demo", "--set", f"name={EVIL}"],
    ["preview", "columns.yaml"], ["estimate", "columns.yaml"], ["run", "columns.yaml"],
    ["generate", f"columns{EVIL}.jsonl", "--prompt", "{{ x }}", "--model", EVIL, "-o", "out.jsonl"],
    ["index", "build", "search.yaml"], ["index", "search", "search.yaml", "red"],
    ["index", "evaluate", EVIL], ["index", "train", EVIL, "-o", EVIL],
    ["index", "quantize", EVIL, "-o", EVIL],
    ["data", "fetch", "devdocs", EVIL, "--from", EVIL], ["data", "list", EVIL], ["data", "grow", EVIL],
    ["data", "apply-delta", EVIL, EVIL, "-o", EVIL], ["data", "quality", "columns.yaml"],
    ["task", "new", EVIL], ["experiments"], ["serve", "--host", EVIL], ["worker", "-c", EVIL], ["feed", EVIL],
    ["resume", EVIL], ["runs", "delete", "one"], ["runs", "prune", "--older-than", "0"],
    ["ledger", "move", EVIL], ["ledger", "backup", f"{EVIL}.db"], ["ledger", "restore", EVIL],
    ["ledger", "vacuum"], ["demo", EVIL],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape"))
def test_no_control_reaches_a_pipe(
    arguments: list[str], evil: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    starmill(*arguments)
    printed = capsys.readouterr()
    assert printed.out or printed.err
    assert "Traceback" not in printed.err
    assert SENT.findall(printed.out + printed.err) == []
    if "--json" in arguments:
        json.loads(printed.out)


@pytest.mark.parametrize("arguments", [["show", "one", f"{ID}0"], ["failures", "one"], ["show", "one", EVIL]])
def test_what_is_escaped_is_shown(
    arguments: list[str], evil: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    starmill(*arguments)
    printed = capsys.readouterr()
    assert r"\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt\u2066\x0d\x08\x7f" in printed.out + printed.err


def test_failures_have_whole_details_in_a_pipe(evil: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with evil.write() as connection:
        connection.execute(
            update(UNITS).where(UNITS.c.state == "failed").values(detail=f"{'x' * 1990} the end")
        )
    assert starmill("failures", "one") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(f"{'x' * 1990} the end" in line for line in lines) == 1


def in_terminal(*arguments: str) -> str:
    """Return the bytes that the command sends to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "PAGER": "cat"}
    command = [str(Path(sys.executable).with_name("starmill")), *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the end of a terminal
                break
            if not part:
                break
            sent += part
        process.wait(60)
    os.close(ours)
    return sent.decode()


@pytest.mark.parametrize("arguments", [["show", "one", f"{ID}0"], ["failures", "one"], ["runs"]])
def test_terminal_gets_no_escape_of_the_data(arguments: list[str], evil: Database) -> None:
    sent = in_terminal(*arguments)
    assert "red" in sent
    # Rich's own are colours and moves; those of the data set another colour, a title and the direction.
    assert re.findall("\x1b\\[31mred|\x1b\\]0;|\x07|\x9b|\u202e|\u2066|\x08|\x7f", sent) == []


def leaves(group: TyperGroup, before: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    groups = {name: each for name, each in group.commands.items() if isinstance(each, TyperGroup)}
    own = {(*before, name) for name in group.commands if name not in groups}
    return own.union(*(leaves(each, (*before, name)) for name, each in groups.items()))


def test_every_command_is_tried() -> None:
    tried = {tuple(words[:count]) for words in COMMANDS for count in (1, 2)}
    assert leaves(app) - tried == set()


def test_question_shows_controls(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with pytest.raises(typer.Abort):
        confirm(f"{EVIL} costs more; go on?")
    printed = capsys.readouterr()
    assert r"\x1b[31mred" in printed.err
    assert SENT.findall(printed.out + printed.err) == []


def test_unforeseen_error_and_bare_warning_show_controls(
    evil: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        logging.getLogger("a.library").warning("warned of %s", EVIL)
        raise LookupError(EVIL)

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("storage.ledger.counts.run_summaries", fail)
    assert starmill("runs") == 1
    printed = capsys.readouterr().err
    assert r"warned of \x1b[31mred" in printed
    assert r"LookupError: \x1b[31mred" in printed
    assert SENT.findall(printed) == []


def test_all_output_goes_one_way() -> None:
    """A command prints by the consoles of `safe_console`; a file that writes by itself escapes by itself."""
    writes = re.compile(
        r"\bstd(out|err)\.write|[^e]Console\(|(?<![.\w])print\(\w|\becho\(|typer\.(confirm|prompt)\(|\binput\("
    )
    by_itself = {
        path for folder in PACKAGES for path in folder.rglob("*.py") if writes.search(path.read_text())
    }
    escapes = {path for path in by_itself if re.search(r"\bvisible(_json)?\(|RENDERERS\[", path.read_text())}
    names = {path.relative_to(Path(producer.__file__).parents[1]).as_posix() for path in by_itself - escapes}
    # The program of the sandbox, whose output is answered as JSON, and code that is made for it.
    assert names <= {"models/adapters/sandbox/inside.py", "models/core/programs.py"}
