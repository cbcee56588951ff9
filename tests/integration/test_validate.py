"""deploy/validate.py finds what is broken: each tool on a copy of deploy/ with one thing wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
PYTHON = REPOSITORY / ".venv-deploy" / "bin" / "python"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    if not PYTHON.exists():
        message = "the tools that check deploy/ are not installed: make lint"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))


def validated(folder: Path, *checks: str) -> str:
    """Return what the script prints, after asserting that its exit code agrees."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [str(PYTHON), str(DEPLOY / "validate.py"), str(folder), *checks],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.stderr == ""
    assert bool(done.returncode) == ("deploy: 0 problems" not in done.stdout)
    return done.stdout


def test_deploy_folder_is_valid(copy: Path) -> None:
    assert "deploy: 0 problems" in validated(copy)


@pytest.mark.parametrize(
    ("check", "file", "right", "wrong", "says"),
    [
        ("dockerfile", "Dockerfile", "USER 10001:10001\nENTRYPOINT", "USER 0\nENTRYPOINT", "DL3002"),
        (
            "dockerfile",
            "Dockerfile",
            "FROM python:3.11.14-slim-bookworm AS runtime",
            "FROM python AS runtime",
            "DL3006",
        ),
        ("compose", "compose.yaml", "restart: unless-stopped", "restarts: unless-stopped", "restarts"),
        ("compose", "compose.yaml", "secrets: [users.acl]", "secrets: [users]", "users"),
        ("kubernetes", "kubernetes/base/workers.yaml", "livenessProbe:", "livenessProbes:", "livenessProbes"),
        (
            "kubernetes",
            "kubernetes/base/redis.yaml",
            "containerPort: 6379",
            "containerPort: redis",
            "integer",
        ),
        ("kubernetes", "kubernetes/base/kustomization.yaml", "redis.yaml,", "reddis.yaml,", "reddis.yaml"),
        ("kubernetes", "kubernetes/keda/teacher.yaml", "minReplicaCount", "minReplicas", "minReplicas"),
        (
            "kubernetes",
            "kubernetes/keda/judge.yaml",
            "maxReplicaCount: 4",
            "maxReplicaCount: many",
            "maxReplicaCount",
        ),
        (
            "kubernetes",
            "kubernetes/execution/kustomization.yaml",
            "value: Unmasked",
            "value: [Unmasked]",
            "procMount",
        ),
        (
            "prometheus",
            "prometheus/starmill.rules.yaml",
            "sum by (run) (starmill_failures)",
            "sum by (run (",
            "parse",
        ),
        ("prometheus", "prometheus/starmill.rules.yaml", "> 0.9", "> 0.99", "BudgetNearlyUsed"),
        ("grafana", "grafana/starmill.json", "sum by (state) (", "sum by state) (", "Units by state"),
        ("grafana", "grafana/starmill.json", '"id": 2,', '"id": 1,', "same id"),
    ],
)
def test_broken_deploy_file_is_reported(
    copy: Path, check: str, file: str, right: str, wrong: str, says: str
) -> None:
    path = copy / file
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    printed = validated(copy, check)
    if "not checked" in printed:
        pytest.skip(printed)
    [*problems, _] = printed.splitlines()
    assert any(line.startswith(f"{check}: ") and says in line for line in problems), printed
