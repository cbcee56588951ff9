"""Load experiment files and presets: overrides, the task folder, and one line for whatever is wrong."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from models.adapters.encoders.checkpoint import PACKAGED
from models.core.errors import DatasetError, ExperimentError
from models.core.experiment.endpoints import Endpoint
from models.core.experiment.experiment import Experiment
from producer.experiments import task_folders
from producer.experiments.task_folders import NOT_YAML, first_comment, yaml_problem
from storage.jsonl import read_objects, read_recording

PRESETS = Path(__file__).parent
BUNDLED = "bundled:"
PATHS = (
    ("dataset", "path"),
    ("passages", "path"),
    ("passages", "encoder"),
    ("augment", "seeds"),
    ("rationale", "seeds"),
    ("teacher", "recording"),
    ("students", "recording"),
    ("judge.model", "recording"),
)
SHORTHANDS = {
    "train": "file",
    "test": "file",
    "teacher": "backend",
    "students": "backend",
    "model": "backend",
}


def presets() -> dict[str, str]:
    """Return the name of each shipped experiment, and its first comment line."""
    return {path.stem: first_comment(path) for path in sorted(PRESETS.glob("*.yaml"))}


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """Load the preset or file `name` with `key.key=value` overrides. Raise like `make_experiment`."""
    path = PRESETS / f"{name}.yaml"
    is_preset = "/" not in name and path.is_file()
    if not is_preset:
        path = Path(name)
    config = _read(path, name)
    # Paths in a file are relative to it; those in a preset and on the command line to the current folder.
    return make_experiment(name, config, Path.cwd() if is_preset else path.parent, overrides)


def make_experiment(
    name: str, config: dict[str, Any], folder: Path, overrides: Sequence[str] = ()
) -> Experiment:
    """Validate a configuration, filled in from its task folder. Its paths are relative to `folder`.

    Raise ExperimentError, DatasetError, TaskFolderError.
    """
    _resolve_paths(config, folder)
    for override in overrides:
        if override.startswith("task="):
            _override(config, override)
            folder = Path.cwd()
    config = _with_task(name, config, folder)
    for override in overrides:
        if not override.startswith("task="):
            _override(config, override)
    _resolve_paths(config, Path.cwd())
    _inline_seeds(config)
    try:
        return Experiment.model_validate(config)
    except ValidationError as error:
        raise _explain(name, error) from None


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(name, presets(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"presets are {', '.join(presets())}"
        raise ExperimentError(name, "", f"no such experiment file or preset; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(name, "", f"cannot be read: {error}") from None
    except NOT_YAML as error:
        line, problem = yaml_problem(error)
        where = f"{name}:{line}" if line else name
        raise ExperimentError(where, "", f"not valid YAML: {problem}") from None
    if not isinstance(config, dict):
        raise ExperimentError(name, "", "must be a mapping with name, dataset, teacher, students")
    return config


def _with_task(name: str, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fill in the task folder that the experiment names. The experiment's own values win."""
    named = config.get("task", task_folders.DEFAULT)
    if not isinstance(named, str):
        raise ExperimentError(name, "task", "must be the name of a shipped task folder, or the path of one")
    task = task_folders.find_task(named, folder)
    frozen, decided = task_folders.read_task(task)
    _resolve_paths(decided, task)
    given = {key: value for key, value in config.items() if key != "task"}
    return _merged(decided, given) | {"task": frozen}


def _merged(decided: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Merge key by key; `given` wins. Passages of another source take no settings of the task."""
    merged = dict(decided)
    for key, value in given.items():
        default = merged.get(key)
        if key in SHORTHANDS and isinstance(default, str) and isinstance(value, dict):
            default = {SHORTHANDS[key]: default}
        is_other_source = key == "passages" and isinstance(value, dict) and "source" in value
        if isinstance(default, dict) and isinstance(value, dict) and not is_other_source:
            merged[key] = _merged(default, value)
        else:
            merged[key] = value
    return merged


def _override(config: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ExperimentError("--set", override, "give it as key.key=value")
    try:
        value = yaml.safe_load(text)
    except NOT_YAML:
        value = text
    *parents, last = key.split(".")
    section: Any = config
    try:
        for parent in parents:
            index: Any = int(parent) if isinstance(section, list) else parent
            if isinstance(section, dict):
                section.setdefault(index, {})
            if isinstance(section[index], str):
                section[index] = {_shorthand(parents, parent): section[index]}
            section = section[index]
        section[int(last) if isinstance(section, list) else last] = value
    except (ValueError, IndexError, TypeError, KeyError):
        raise ExperimentError("--set", key, "there is no such key in the experiment") from None


def _shorthand(parents: list[str], parent: str) -> str:
    return SHORTHANDS.get(parent) or SHORTHANDS[parents[0]]


def _resolve_paths(config: dict[str, Any], folder: Path) -> None:
    for section, key in PATHS:
        value: Any = config
        for part in section.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        for block in value if isinstance(value, list) else [value]:
            if isinstance(block, dict) and isinstance(block.get(key), str):
                block[key] = _resolved(key, block[key], folder)


def _resolved(key: str, value: str, folder: Path) -> str:
    if key == "encoder" and value == PACKAGED:
        return value
    if value.startswith(BUNDLED):
        return str(PRESETS / value.removeprefix(BUNDLED))
    return str((folder / Path(value).expanduser()).resolve())


def _inline_seeds(config: dict[str, Any]) -> None:
    """Replace the name of each seed file by its rows: workers on other machines have no such file."""
    for section in ("augment", "rationale"):
        block = config.get(section)
        if isinstance(block, dict) and isinstance(block.get("seeds"), str):
            path = Path(block["seeds"])
            block["seeds"] = [row for _, row in read_objects(path)]
            if not block["seeds"]:
                raise DatasetError(path, None, "holds no seeds")


def _explain(name: str, error: ValidationError) -> ExperimentError:
    first = error.errors()[0]
    location = [part for part in first["loc"] if part not in {"function-before", "function-after", "[key]"}]
    key = ".".join(str(part) for part in location)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known_keys(location)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        message = (
            f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known are {', '.join(known)}"
        )
    elif first["type"] == "missing":
        message = "is required"
    elif first["type"] == "model_type":
        message = "must be a mapping of keys to values"
    elif location[-1:] != ["base_url"]:  # it may hold a password
        shown = json.dumps(first["input"], default=str)
        message = f"{message} (found {shown if len(shown) < 60 else shown[:57] + '...'})"
    return ExperimentError(name, key, message)


def _known_keys(location: Sequence[Any]) -> list[str]:
    """Return the keys of the section that holds the last part of `location`."""
    model: Any = Experiment
    for part in location[:-1]:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        model = _section(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _section(inner))), None)


E = TypeVar("E", bound=Endpoint)


def pin_recordings(experiment: Experiment) -> Experiment:
    """Add the hashes of the recordings: another file makes another run, and workers refuse it.

    Raise DatasetError with file, line and reason.
    """
    students = [_pinned(student) for student in experiment.students]
    pinned = {"teacher": _pinned(experiment.teacher), "students": students}
    if model := experiment.judge.model:
        pinned["judge"] = experiment.judge.model_copy(update={"model": _pinned(model)})
    return experiment.model_copy(update=pinned)


def _pinned(endpoint: E) -> E:
    if not endpoint.recording:
        return endpoint
    recording = read_recording(Path(endpoint.recording), endpoint.recording_sha256)
    return endpoint.model_copy(update={"recording_sha256": recording.digest})
