"""Words that no command has: one line says so, and where to read on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import command_line, starmill

GROUPS = ("index", "data", "task", "ledger")
REFUSED = {
    "report x --format pdf": "'--format': 'pdf' is not one of 'markdown'",
    "score x --rules tree": "'--rules': 'tree' is not one of 'paper', 'strict'",
    "export x --shuffle y": "'--shuffle': Input should be a valid integer",
    "runs prune --older-than nan": "'--older-than': Input should be greater than or equal to 0",
    **dict.fromkeys(GROUPS, "Missing command"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_no_command_takes_is_refused_in_one(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert starmill(*line.split()) == 2
    printed = capsys.readouterr()
    command = " ".join(line.split()[: 2 if line.startswith("runs") else 1])
    assert printed.err.startswith("starmill: ")
    assert REFUSED[line] in printed.err
    assert printed.err.endswith(f"; see `starmill {command} --help`\n")
    assert (printed.out, printed.err.count("\n"), len(printed.err) < 200) == ("", 1, True)
    assert not list(tmp_path.iterdir())


LONG = "n" * 256


@pytest.mark.parametrize(
    "line", [f"run {LONG}", f"estimate {LONG}/x.yaml", f"ledger backup {LONG}", f"ledger restore {LONG}"]
)
def test_a_path_that_cannot_be_is_refused_in_one_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with command_line(tmp_path, monkeypatch):
        assert starmill(*line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("starmill: ")
    assert (printed.out, printed.err.count("\n"), LONG in printed.err) == ("", 1, True)


def test_a_home_of_no_user_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STARMILL_HOME", "~no-such-user/home")
    assert starmill("runs") == 2
    says = "STARMILL_HOME=~no-such-user/home: ~ names no user of this machine that has a home"
    assert capsys.readouterr().err == f"starmill: {says}\n"
