"""The four packages are ours, and light until something is opened; no file is long."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from producer.cli.commands import LazyCommand, app

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "transformers", "openai", "pymilvus", "milvus_lite", "xllamacpp", "pyarrow", "sacrebleu",
         "flower", "numpy"]  # fmt: skip
LONGEST = 300  # lines


@pytest.mark.parametrize("name", ["models", "storage", "worker", "producer"])
def test_name_resolves_to_this_distribution(name: str) -> None:
    """A dependency that shipped a package of the same name would be imported in our place."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(REPOSITORY / name / "__init__.py")


@pytest.mark.parametrize(
    "module",
    [
        "models",
        "models.adapters.backends",
        "storage.passages",
        "worker",
        "worker.tasks",
        "producer.cli",
        "producer.cli.commands",
    ],
)
def test_import_is_light(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint(HEAVY)


def each_command(before: str, commands: Mapping[str, Any]) -> Iterator[tuple[str, LazyCommand]]:
    """Return every command by its words, such as `index build`."""
    for word, command in commands.items():
        if isinstance(command, LazyCommand):
            yield before + word, command
        else:
            yield from each_command(f"{before}{word} ", command.commands)


COMMANDS = dict(each_command("", app.commands))
PLACES = {command.module for command in COMMANDS.values()}


def test_commands_are_independent_of_each_other() -> None:
    """import-linter sees that no command's module imports another's; it cannot see which ones there are."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [named] = [each["modules"] for each in contracts if each["type"] == "independence"]
    assert sorted(named) == sorted(PLACES)


@pytest.mark.parametrize("words", ["", "index", "data", "task"])
def test_a_list_of_commands_loads_none(words: str) -> None:
    assert loaded_by(calling(*words.split(), "--help")).isdisjoint(PLACES)


def test_list_of_commands_shows_each_commands_own_help() -> None:
    for command in COMMANDS.values():
        assert command.get_short_help_str(1000) == command.load().get_short_help_str(1000) != ""


@pytest.mark.parametrize("line", ["runs --json", "status --help", "pause --help", "data list --help"])
def test_a_command_that_only_reads_is_light(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`status` asks no Redis about ended runs."""
    monkeypatch.setenv("STARMILL_HOME", str(tmp_path))
    loaded = loaded_by(calling(*line.split()))
    assert loaded & PLACES == {COMMANDS[line.rpartition(" ")[0]].module}
    assert loaded.isdisjoint({*HEAVY, "celery", "kombu", "redis"})


def calling(*arguments: str) -> str:
    return f"""
from contextlib import suppress
from producer.cli import main
with suppress(SystemExit):
    main({arguments})
"""


def loaded_by(code: str) -> set[str]:
    """Modules that a new process has loaded once it has run the code; it prints no warning."""
    listing = f"{code}\nimport json, sys; print(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", listing], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_file_is_long() -> None:
    """Files under version control, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert "tests/unit/test_packages.py" in listed
    lengths = {path: len((REPOSITORY / path).read_bytes().splitlines())
               for path in listed if (REPOSITORY / path).exists()}  # fmt: skip
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
