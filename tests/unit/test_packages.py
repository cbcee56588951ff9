"""The four packages are ours, and light until something is opened."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    code = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert module in loaded
    assert [name for name in HEAVY if name in loaded] == []
    assert done.stderr == ""
