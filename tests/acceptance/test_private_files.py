"""Files of commands and calls, which nobody else can read, whatever the umask of the shell."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.adapters.private_files import private_folder
from producer.cli import main
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.pipeline import STARMILL

OPEN_UMASK = 0o022
BY_CALL = """
import sys, starmill
rows = [{"question": "one"}, {"question": "two"}]
starmill.generate(rows, prompt="Explain: {{ question }}", model="small", base_url=sys.argv[1])
"""


@pytest.fixture
def openly(tmp_path: Path) -> Iterator[Path]:
    before = os.umask(OPEN_UMASK)
    yield tmp_path
    os.umask(before)


def readable_by_others(folder: Path) -> dict[str, str]:
    """Return what is open to group or others, with its mode, and the home itself as `.`."""
    paths = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {
        str(path.relative_to(folder)): stat.filemode(found.st_mode)
        for path, found in paths.items()
        if found.st_mode & 0o077 and not stat.S_ISLNK(found.st_mode)
    }


def test_home_and_outputs_of_commands_are_private(openly: Path, openai_server: OpenAIServer) -> None:
    home, out = openly / "shared" / "home", openly / "out.jsonl"
    (openly / "rows.csv").write_text("question\none\ntwo\n")
    environment = os.environ | {"STARMILL_HOME": str(home)}
    asked = ["--prompt", "Explain: {{ question }}", "--model", "small", "--base-url", openai_server.url]
    for words in (
        ["generate", "rows.csv", *asked, "-o", str(out)],
        ["report", "rows", "-o", "report.html", "--format", "html"],
        ["ledger", "backup", "backup.db"],
    ):
        subprocess.run([STARMILL, *words], cwd=openly, env=environment, check=True, umask=OPEN_UMASK)
    assert len(read_jsonl(out)) == 2
    names = {path.name for path in home.rglob("*")}
    assert {"ledger.db", "redis.conf", "logs", "journals"} <= names
    assert readable_by_others(home) == {}
    written = [out, openly / "report.html", openly / "backup.db", home.parent]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in written} == dict.fromkeys(
        (path.name for path in written), 0
    )


def test_home_of_a_call_is_closed_and_its_children_write_privately(
    openly: Path, openai_server: OpenAIServer
) -> None:
    home = openly / "home"
    environment = os.environ | {"STARMILL_HOME": str(home)}
    subprocess.run(
        [sys.executable, "-c", BY_CALL, openai_server.url],
        cwd=openly, env=environment, check=True, umask=OPEN_UMASK,
    )  # fmt: skip
    opened = readable_by_others(home)
    assert not {".", "ledger.db", "local", "logs", "journals"} & set(opened)
    assert [name for name in opened if name.startswith("local/redis/")] == []


def test_missing_parents_are_private_and_others_stay(openly: Path) -> None:
    assert stat.S_IMODE(openly.stat().st_mode) == 0o700
    (openly / "own").mkdir(mode=0o755)
    private_folder(openly / "own" / "a" / "b")
    modes = {name: stat.S_IMODE((openly / name).stat().st_mode) for name in ("own", "own/a", "own/a/b")}
    assert modes == {"own": 0o755, "own/a": 0o700, "own/a/b": 0o700}


def test_umask_of_a_program_that_calls_a_command_stays(openly: Path) -> None:
    with pytest.raises(SystemExit):
        main(["experiments"])
    assert os.umask(OPEN_UMASK) == OPEN_UMASK
