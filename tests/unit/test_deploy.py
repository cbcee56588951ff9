"""Names in deploy/ exist: settings, commands, queues, extras, images, metrics; its promises hold."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.core.experiment.endpoints import Model
from producer.serve.metrics import FAMILIES
from storage.settings import Settings
from tests.acceptance.test_docs import OPTION
from tests.reference import all_commands

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
TEXTS = {
    str(path.relative_to(DEPLOY)): path.read_text(encoding="utf-8")
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file()
    and path.suffix not in {".png", ".pyc"}
    and "secrets" not in path.relative_to(DEPLOY).parts
}
COMPOSE = yaml.safe_load(TEXTS["compose.yaml"])["services"]
QUEUES = re.compile(r"model\.\S+|retrieve|judge|python")


def objects(*kinds: str) -> Iterator[dict[str, Any]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for entry in yaml.safe_load_all(path.read_text()):
            if entry and entry.get("kind") in kinds:
                yield entry


def pods() -> dict[str, Any]:
    """Specifications of the pods of everything that runs, by name and file's object."""
    return {
        f"{entry['kind']}/{entry['metadata']['name']}/{number}": entry["spec"]["template"]["spec"]
        for number, entry in enumerate(objects("Deployment", "StatefulSet"))
    }


def command_lines() -> list[list[str]]:
    """Every `starmill` and `celery` command of compose, Kubernetes, Procfile and Dockerfile."""
    lines = [service["command"] for service in COMPOSE.values() if "command" in service]
    for pod in pods().values():
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        lines += [container["args"] for container in containers if "args" in container]
    for line in TEXTS["Procfile"].splitlines():
        if line and not line.startswith("#"):
            lines.append(shlex.split(line.partition(": ")[2]))
    joined = TEXTS["Dockerfile"].replace("\\\n", " ")
    lines += [json.loads(line) for line in re.findall(r"^CMD (\[.*\])$", joined, re.MULTILINE)]
    return [line for line in lines if line[0] in {"starmill", "celery"}]


def test_every_setting_is_one_of_the_product() -> None:
    known = {f"STARMILL_{name.upper()}" for name in Settings.model_fields}
    for name, text in TEXTS.items():
        assert set(re.findall(r"\bSTARMILL_[A-Z_]+", text)) <= known, name


def test_every_command_and_option_is_one_of_the_product() -> None:
    lines = [line for line in command_lines() if line[0] == "starmill"]
    inline = re.compile(r"\bstarmill ((?:[a-z]+)(?: [^`\n|;]+)?)`")
    typed = re.compile(r"^\$ .*\bstarmill ([a-z].*)$", re.MULTILINE)
    for text in (TEXTS["README.md"], TEXTS["prometheus/starmill.rules.yaml"]):
        snippets = (*inline.findall(text), *typed.findall(text))
        lines += [["starmill", *line.split()] for line in snippets]
    assert len(lines) > 10
    for line in lines:
        words = next((words for words in (" ".join(line[1:3]), line[1]) if words in all_commands()), None)
        assert words, line
        options = {word for parameter in all_commands()[words].params for word in parameter.opts}
        assert set(OPTION.findall(" ".join(line[2:]))) <= options, line


def test_workers_serve_queues_that_there_are_with_threads_and_names() -> None:
    workers = [line for line in command_lines() if line[:4] == ["celery", "-A", "worker", "worker"]]
    assert len(workers) >= 5 + 6 + 6
    for line in workers:
        assert QUEUES.fullmatch(line[line.index("-Q") + 1]), line
        assert line[line.index("-P") + 1] == "threads"
        assert line[line.index("-n") + 1].endswith("@%h")
        assert {"--without-gossip", "--without-mingle"} <= set(line)


def test_the_same_processes_run_everywhere() -> None:
    procfile = set(re.findall(r"^(\w+): ", TEXTS["Procfile"], re.MULTILINE))
    services = {
        name
        for name in COMPOSE
        if name not in {"redis", "postgres", "milvus", "migrate", "roles", "starmill"}
    }
    assert services - {"student-gpu"} == procfile
    deployed = {entry["metadata"]["name"] for entry in objects("Deployment")} - {"tools"}
    assert deployed == procfile


def test_worker_of_model_written_code_is_apart() -> None:
    """It alone serves its queue, and nothing else: without keys, without files of others, without the net."""
    shared = [line for line in command_lines() if "-Q" in line and "judge" in line[line.index("-Q") + 1]]
    assert [line[line.index("-Q") + 1] for line in shared] == ["judge"] * 3
    compose = yaml.safe_load(TEXTS["compose.yaml"])
    judge, others = compose["services"]["judge"], compose["services"].keys() - {"judge"}
    assert judge["env_file"] == ["secrets/worker.env"]
    assert judge["networks"] == ["services"]
    assert compose["networks"]["services"]["internal"] is True
    met = {name for name in others if "services" in compose["services"][name].get("networks", [])}
    assert met == {"redis", "postgres"}
    [home] = judge["volumes"]
    assert [name for name in others if home in compose["services"][name].get("volumes", [])] == []
    [pod] = [
        entry["spec"]["template"] for entry in objects("Deployment") if entry["metadata"]["name"] == "judge"
    ]
    uses = {name for name in pod["metadata"]["labels"] if name.startswith("starmill/")}
    assert uses == {"starmill/broker", "starmill/ledger"}
    [container] = pod["spec"]["containers"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": "starmill"}},
        {"secretRef": {"name": "starmill-worker"}},
    ]
    assert all("emptyDir" in volume for volume in pod["spec"]["volumes"])


def test_only_commands_own_the_ledger() -> None:
    """Parts that run for months have a role that cannot delete a run or change a table (deploy/roles.sql)."""
    role = {"feeder": "feeder", "page": "reader", "flower": "reader"}
    environments = {name: service.get("env_file", []) for name, service in COMPOSE.items()}
    for entry in objects("Deployment"):
        [container] = entry["spec"]["template"]["spec"]["containers"]
        name = entry["metadata"]["name"]
        secrets = [source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source]
        if name != "tools":
            assert secrets[0] == f"starmill-{role.get(name, 'worker')}", name
            assert environments[name][0] == f"secrets/{role.get(name, 'worker')}.env", name
    owners = {name for name, files in environments.items() if "secrets/starmill.env" in files}
    assert owners <= {"migrate", "starmill"}


def test_every_extra_is_one_of_the_product_and_a_producer_has_no_torch() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    stages = dict(
        re.findall(
            r"^FROM source AS build-(\w+)\n(.*?)(?=^FROM)", TEXTS["Dockerfile"], re.MULTILINE | re.DOTALL
        )
    )
    assert set(stages) == {"producer", "worker", "retrieve", "vllm"}
    for name, text in stages.items():
        [extras] = re.findall(r"'\.\[([a-z,]+)\]'", text)
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), name
        heavy = {"torch", "transformers", "vllm"}
        wanted = " ".join(
            word for extra in extras.split(",") for word in project["optional-dependencies"][extra]
        )
        if name in {"producer", "worker"}:
            assert not heavy & set(re.findall(r"[a-z-]+", wanted)), name


def test_images_are_built_here_or_pinned_to_a_release() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", TEXTS["Dockerfile"], re.MULTILINE))
    images = [service["image"] for service in COMPOSE.values() if "image" in service]
    images += [container["image"] for pod in pods().values() for container in pod["containers"]]
    for image in images:
        name, _, tag = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image).partition(":")
        if name.startswith("starmill-"):
            assert name.removeprefix("starmill-") in targets
            assert tag == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
        else:
            assert re.search(r"\d+\.\d+", tag), image


def test_workers_may_finish_the_longest_call_before_they_are_killed() -> None:
    longest = Model.model_fields["timeout"].default
    for pod in pods().values():
        if pod["containers"][0].get("args", [])[3:4] == ["worker"]:
            assert pod["terminationGracePeriodSeconds"] >= longest + 30
    assert (
        int(yaml.safe_load(TEXTS["compose.yaml"])["x-worker"]["stop_grace_period"].removesuffix("s"))
        >= longest + 30
    )


@pytest.mark.parametrize("name", pods())
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights.get("readOnlyRootFilesystem") or "milvus" in name
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]


def test_ports_of_compose_are_bound_to_this_machine() -> None:
    published = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_nothing_holds_a_secret() -> None:
    for name, text in TEXTS.items():
        assert not re.search(r"(password|token|key)\w*[:=] ?['\"]?[0-9a-f]{16}", text, re.IGNORECASE), name
        assert "sk-" not in text, name


def test_every_metric_is_one_of_the_run_page() -> None:
    for name in ("prometheus/starmill.rules.yaml", "prometheus/starmill.test.yaml", "grafana/starmill.json"):
        names = set(re.findall(r"\bstarmill_\w+", TEXTS[name]))
        assert names
        assert names <= set(FAMILIES), name


def test_files_that_kustomize_must_have_in_its_own_folder_are_the_same() -> None:
    for name in ("redis.conf", "milvus-etcd.yaml", "roles.sql"):
        assert TEXTS[name] == TEXTS[f"kubernetes/base/{name}"]
