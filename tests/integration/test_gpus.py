"""A worker tells the GPUs that CUDA shows to it. NVIDIA's own bindings read them, from a library that answers
as the driver does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.nvidia_driver import FIRST, SECOND, build_driver

PROGRAM = """
import json
from dataclasses import asdict
from models.adapters.gpus import read_gpus
print(json.dumps([asdict(gpu) for gpu in read_gpus()]))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_driver(tmp_path_factory.mktemp("driver"))


def read(environment: dict[str, str]) -> list[dict[str, Any]]:
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=kept | environment, check=True, capture_output=True, text=True,
        timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [FIRST, SECOND]),
        ("1", [SECOND]),
        ("1, 0", [SECOND, FIRST]),
        ("GPU-bb,0", [{**SECOND, "device": "GPU-bb"}, FIRST]),
        ("0,-1,1", [FIRST]),
        ("7", []),
        ("", []),
    ],
)
def test_gpus_are_those_that_cuda_shows(
    driver: dict[str, str], visible: str | None, expected: list[dict[str, Any]]
) -> None:
    assert read(driver | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})) == expected


def test_a_machine_without_a_driver_has_none(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    assert read({"LD_LIBRARY_PATH": str(tmp_path)}) == []
