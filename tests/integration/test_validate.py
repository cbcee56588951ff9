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


# Each case breaks files of a copy, all of which one validation must report: (file, right, wrong, message).
CASES: dict[str, tuple[str, list[tuple[str, str, str, str]]]] = {
    "user": ("dockerfile", [("Dockerfile", "USER 10001:10001\nENTRYPOINT", "USER 0\nENTRYPOINT", "DL3002")]),
    "image": ("dockerfile", [
        ("Dockerfile", "FROM ${PYTHON} AS runtime", "FROM python AS runtime", "DL3006"),
    ]),
    "key": ("compose", [("compose.yaml", "restart: unless-stopped", "restarts: unless-stopped", "restarts")]),
    "secret": ("compose", [("compose.yaml", "secrets: [users.acl]", "secrets: [users]", "users")]),
    "missing file": ("kubernetes", [
        ("kubernetes/base/kustomization.yaml", "redis.yaml,", "reddis.yaml,", "reddis.yaml"),
    ]),
    "schemas": ("kubernetes", [
        ("kubernetes/base/workers.yaml", "livenessProbe:", "livenessProbes:", "livenessProbes"),
        ("kubernetes/base/redis.yaml", "containerPort: 6379", "containerPort: redis", "'redis' is not"),
        ("kubernetes/keda/teacher.yaml", "minReplicaCount", "minReplicas", "minReplicas"),
        ("kubernetes/keda/judge.yaml", "maxReplicaCount: 4", "maxReplicaCount: many", "maxReplicaCount"),
        ("kubernetes/execution/kustomization.yaml", "value: Unmasked", "value: [Unmasked]", "procMount"),
    ]),
    "rule": ("prometheus", [
        ("prometheus/starmill.rules.yaml", "sum by (run) (starmill_failures)", "sum by (run (", "parse"),
    ]),
    "threshold": ("prometheus", [
        ("prometheus/starmill.rules.yaml", "> 0.9", "> 0.99", "BudgetNearlyUsed"),
    ]),
    "query": ("grafana", [
        ("grafana/starmill.json", "sum by (state) (", "sum by state) (", "Units by state"),
    ]),
    "identity": ("grafana", [("grafana/starmill.json", '"id": 2,', '"id": 1,', "same id")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_broken_deploy_file_is_reported(copy: Path, case: str) -> None:
    check, changes = CASES[case]
    for file, right, wrong, _ in changes:
        path = copy / file
        text = path.read_text()
        assert right in text
        path.write_text(text.replace(right, wrong))
    printed = validated(copy, check)
    if "not checked" in printed:
        pytest.skip(printed)
    [*problems, _] = printed.splitlines()
    for *_, says in changes:
        assert any(line.startswith(f"{check}: ") and says in line for line in problems), printed
