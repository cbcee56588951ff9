"""The four packages are ours, and light until something is opened."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup

from producer.cli.app import app
from producer.cli.lazy import LazyCommand

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "transformers", "openai", "pymilvus", "milvus_lite", "xllamacpp", "pyarrow", "sacrebleu",
         "flower", "numpy"]  # fmt: skip


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
        "models.backends",
        "storage.passages",
        "worker",
        "worker.tasks",
        "producer.cli",
        "producer.cli.app",
    ],
)
def test_import_is_light(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint(HEAVY)


COMMANDS = {word: command for word, command in app.commands.items() if isinstance(command, LazyCommand)}
GROUPED = {
    f"{word} {inner}": command
    for word, each in app.commands.items()
    if isinstance(each, TyperGroup)
    for inner, command in each.commands.items()
    if isinstance(command, LazyCommand)
}
ALL = COMMANDS | GROUPED
PLACES = {command.module for command in ALL.values()}


@pytest.mark.parametrize("words", ALL)
def test_a_command_loads_no_other(words: str) -> None:
    assert loaded_by(calling(*words.split(), "--help")) & PLACES == {ALL[words].module}


def test_lists_of_commands_load_none() -> None:
    """And yet they tell of each what it tells itself."""
    for words in ("", "index", "data", "task"):
        assert loaded_by(calling(*words.split(), "--help")).isdisjoint(PLACES)
    for command in ALL.values():
        assert command.get_short_help_str(1000) == command.load().get_short_help_str(1000) != ""


@pytest.mark.parametrize("words", ["pause", "runs", "status", "failures", "data list", "task new"])
def test_a_command_that_only_reads_is_light(words: str) -> None:
    """Whether a run is going on is seen before Redis is asked about it."""
    assert loaded_by(calling(*words.split(), "--help")).isdisjoint({*HEAVY, "celery", "kombu", "redis"})


def calling(*arguments: str) -> str:
    return f"from contextlib import suppress; from producer.cli import main\nwith suppress(SystemExit): main({arguments})"


def loaded_by(code: str) -> set[str]:
    """Modules that a new process has loaded once it has run the code; it prints no warning."""
    listing = f"{code}\nimport json, sys; print(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", listing], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return set(json.loads(done.stdout.splitlines()[-1]))
