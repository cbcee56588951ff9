"""The origin of a run, recorded when it is planned: the line that repeats it, versions, and its passages."""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.core.experiment.experiment import Experiment
from models.core.types import JSON
from producer.experiments.load import experiment_path
from storage.passages import index_path
from storage.settings import Settings

# Those on which results depend, where they are installed.
PACKAGES = (
    "celery", "redis", "sqlalchemy", "pydantic", "jinja2", "numpy", "sacrebleu", "openai", "aiohttp",
    "onnxruntime", "pymilvus", "datasets", "llama-cpp-python", "torch", "transformers", "vllm",
)  # fmt: skip
# A longer line is no line to type.
MAX_LINE = 4000
# What may hold a secret is left out of the line: values of headers, and logins in URLs.
_SECRET = re.compile(r"\b(headers|query)\b")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN = "..."


@dataclass(frozen=True, slots=True)
class RunSource:
    """The words of the command that plans a run, and the file or preset that it names."""

    words: Sequence[str]
    file: str

    @classmethod
    def of_experiment(cls, name: str, overrides: Sequence[str] = (), *, local: bool = False) -> RunSource:
        settings = [word for text in overrides for word in ("--set", text)]
        return cls(("run", name, *(["--local"] if local else []), *settings), name)

    @property
    def line(self) -> str:
        """The command as it can be typed; empty if it is too long."""
        line = shlex.join(["starmill", *map(_without_secrets, self.words)])
        return line if len(line) <= MAX_LINE else ""


def read_origin(source: RunSource | None, experiment: Experiment, settings: Settings) -> JSON:
    """Return what a report tells of the origin of a run, as JSON. The index of its passages is up to date."""
    return {
        "line": source.line if source else "",
        "file": Path(source.file).name if source else "",
        "file_sha256": _file_hash(source.file) if source else "",
        "versions": versions(),
        "passages": _passages(experiment, settings),
    }


def versions() -> dict[str, str]:
    """Return the versions of Starmill, Python, and the packages of PACKAGES that are installed."""
    installed = {"starmill": version("starmill"), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def _without_secrets(word: str) -> str:
    key, equals, _ = word.partition("=")
    shown = f"{key}={HIDDEN}" if equals and _SECRET.search(word) else word
    return _LOGIN.sub(f"{HIDDEN}@", shown)


def _file_hash(name: str) -> str:
    try:
        with experiment_path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # a folder, or a name on the Hub
        return ""


def _passages(experiment: Experiment, settings: Settings) -> JSON | None:
    if not experiment.passages or experiment.grow.enabled:
        return None
    from storage.passages.snapshot import Snapshot  # with numpy

    meta = Snapshot.open(index_path(experiment.passages, settings.root)).meta
    return {"sha256": meta.corpus, "encoder": meta.fingerprint, "count": meta.count}
