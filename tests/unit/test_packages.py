"""The packages are ours, and light until something is opened; no file is long."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from producer.cli import main
from producer.cli.commands import LazyCommand, app
from storage.database import Database
from storage.ledger import runs
from tests.support.clock import Clock
from tests.support.small_run import plan

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "transformers", "openai", "pymilvus", "milvus_lite", "xllamacpp", "pyarrow", "sacrebleu",
         "flower", "numpy", "pandas", "datasets", "onnxruntime"]  # fmt: skip
# A process that feeds asks no model, and one that works prints no tables.
PRODUCER_NEVER = {"aiohttp", "alembic", "worker", "producer.corpus", "models.adapters.backends.openai"}
READER_NEVER = {"celery", "kombu", "redis", "aiohttp", "alembic", "worker"}
WORKER_NEVER = {"alembic", "typer", "rich", "producer", "models.adapters.backends.vllm"}
SERVER_MODEL = """
from models.adapters.backends import open_backend
from models.core.experiment.endpoints import Model
import asyncio
model = Model(backend="server", model="m", base_url="http://127.0.0.1:9/v1")
async def opened():
    await open_backend(model, None).close()
asyncio.run(opened())
"""
LONGEST = 300  # lines


@pytest.mark.parametrize("name", ["models", "storage", "worker", "producer"])
def test_name_resolves_to_this_distribution(name: str) -> None:
    """A dependency that shipped a package of the same name would be imported in our place."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(REPOSITORY / name / "__init__.py")


def test_starmill_finds_its_packages_beside_others_of_their_names(tmp_path: Path) -> None:
    for name in ("models", "producer"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    code = "import starmill; from starmill import app, generate; print(app.main, generate.__module__)"
    done = python_in(tmp_path, code)
    assert done.stdout == "starmill producer.one_prompt\n", done.stderr


def test_starmill_says_which_package_stands_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("")
    done = python_in(tmp_path, "import models, starmill")
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: starmill has a package `models`, and {tmp_path / 'models.py'} was imported under that "
        "name before; import starmill first, or give your own another name"
    )


def python_in(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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
        "starmill",
    ],
)
def test_import_is_light(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["producer.cli.generate", "producer.cli.run", "producer.feeding.service"])
def test_what_feeds_a_run_loads_no_client_and_no_arithmetic(module: str) -> None:
    assert loaded_by(f"import {module}").isdisjoint({*HEAVY, *PRODUCER_NEVER})


def test_worker_that_asks_a_server_loads_nothing_else() -> None:
    code = f"import worker.celery_worker, worker.process, worker.tasks\n{SERVER_MODEL}"
    loaded = loaded_by(code)
    assert "aiohttp" in loaded
    assert loaded.isdisjoint({*HEAVY, *WORKER_NEVER})


def each_command(before: str, commands: Mapping[str, Any]) -> Iterator[tuple[str, LazyCommand]]:
    """Return every command by its words, such as `index build`."""
    for word, command in commands.items():
        if isinstance(command, LazyCommand):
            yield before + word, command
        else:
            if hasattr(command, "default"):
                yield before + word, command.default
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
    loaded = loaded_by(calling(*words.split(), "--help"))
    assert "typer" in loaded
    assert loaded.isdisjoint({*PLACES, *HEAVY, *READER_NEVER, "storage", "sqlalchemy", "rich", "yaml"})


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
    assert loaded.isdisjoint({*HEAVY, *READER_NEVER})


def test_status_of_a_run_that_stands_is_light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'ledger.db'}")) as db:
        db.migrate()
        runs.stop_run(db, plan(db, Clock()).id, "stopped by hand")
    monkeypatch.setenv("STARMILL_HOME", str(tmp_path))
    loaded = loaded_by(calling("status"))
    assert "storage.ledger.counts" in loaded
    assert loaded.isdisjoint({*HEAVY, *READER_NEVER})


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


def files_of(*paths: str) -> list[str]:
    """Files under version control, and new ones that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.splitlines() if (REPOSITORY / path).exists()]


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """Templates, presets, pages of the server, marks of types, migrations; no page for readers."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = files_of("models", "storage", "worker", "producer")
    assert held == {
        path.removeprefix("producer/facade/")
        for path in files
        if not (path.count("/") == 1 and path.endswith(".md"))
    }
    assert "starmill/py.typed" in held


def test_the_command_tells_its_release(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"starmill {version('starmill')}\n")


def test_no_file_is_long() -> None:
    listed = files_of("*.py")
    assert "tests/unit/test_packages.py" in listed
    lengths = {path: len((REPOSITORY / path).read_bytes().splitlines()) for path in listed}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


def test_worker_imports_only_packages_that_are_asked_for() -> None:
    """A package that another one imports without asking for it must be a dependency here."""
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    asked: set[str] = set()
    waiting = [Requirement(each) for each in pyproject["project"]["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        if (name := canonicalize_name(requirement.name)) not in asked:
            asked.add(name)
            needs = map(Requirement, requires(name) or ())
            waiting += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
    others = [
        name
        for name, owners in packages_distributions().items()
        if asked.isdisjoint(map(canonicalize_name, owners)) and "starmill" not in owners
    ]
    assert "pytest" in others
    # A module that is None in sys.modules is one that is not installed.
    code = f"import sys; sys.modules |= dict.fromkeys({others!r}); import kombu.transport.redis, worker.tasks"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
