"""The four packages are ours, and light until something is opened; no file is long."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

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
        "models.backends",
        "storage.passages",
        "worker",
        "worker.tasks",
        "producer.cli",
        "producer.cli.app",
    ],
)
def test_import_is_light(module: str) -> None:
    code = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert module in loaded
    assert [name for name in HEAVY if name in loaded] == []
    assert done.stderr == ""


def test_no_file_is_long() -> None:
    """Of those that are, or will be, under version control."""
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
