"""Experiment files: found, overridden, validated, with one line for whatever is wrong.

The recordings of an experiment, read before anything starts.
"""

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
# The reader of dates and numbers raises ValueError.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
SHORTHANDS = {
    "train": "file",
    "test": "file",
    "teacher": "backend",
    "students": "backend",
    "model": "backend",
}


def presets() -> dict[str, str]:
    """Name of each shipped experiment, and what its first comment line says about it."""
    found = {}
    for path in sorted(PRESETS.glob("*.yaml")):
        found[path.stem] = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
    return found


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """The preset or file `name`, with `key.key=value` overrides. Raises as `make_experiment`."""
    path = PRESETS / f"{name}.yaml"
    is_preset = "/" not in name and path.is_file()
    if not is_preset:
        path = Path(name)
    config = _read(path, name)
    # In a file, paths are relative to it; in a preset and on the command line, to where you stand.
    return make_experiment(name, config, Path.cwd() if is_preset else path.parent, overrides)


def make_experiment(
    name: str, config: dict[str, Any], here: Path, overrides: Sequence[str] = ()
) -> Experiment:
    """The experiment of this configuration, whose paths are seen from `here`, with its task folder filled in.

    Raises ExperimentError, DatasetError, TaskFolderError.
    """
    _anchor(config, here)
    for override in overrides:
        if override.startswith("task="):
            _override(config, override)
            here = Path.cwd()
    config = _with_task(name, config, here)
    for override in overrides:
        if not override.startswith("task="):
            _override(config, override)
    _anchor(config, Path.cwd())
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
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ExperimentError(where, "", f"not valid YAML: {problem}") from None
    if not isinstance(config, dict):
        raise ExperimentError(name, "", "must be a mapping with name, dataset, teacher, students")
    return config


def _with_task(name: str, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The experiment with the task folder that it names, and with what that decides where it does not."""
    named = config.get("task", task_folders.DEFAULT)
    if not isinstance(named, str):
        raise ExperimentError(name, "task", "must be the name of a shipped task folder, or the path of one")
    task = task_folders.find_task(named, folder)
    frozen, decided = task_folders.read_task(task)
    _anchor(decided, task)
    given = {key: value for key, value in config.items() if key != "task"}
    return _merged(decided, given) | {"task": frozen}


def _merged(decided: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is `given` wins, key by key; documentation from elsewhere has none of the task's settings."""
    merged = dict(decided)
    for key, value in given.items():
        under = merged.get(key)
        if key in SHORTHANDS and isinstance(under, str) and isinstance(value, dict):
            under = {SHORTHANDS[key]: under}
        if (
            isinstance(under, dict)
            and isinstance(value, dict)
            and not (key == "passages" and "source" in value)
        ):
            merged[key] = _merged(under, value)
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
    place: Any = config
    try:
        for parent in parents:
            index: Any = int(parent) if isinstance(place, list) else parent
            if isinstance(place, dict):
                place.setdefault(index, {})
            if isinstance(place[index], str):
                place[index] = {_shorthand(parents, parent): place[index]}
            place = place[index]
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (ValueError, IndexError, TypeError, KeyError):
        raise ExperimentError("--set", key, "there is no such place in the experiment") from None


def _shorthand(parents: list[str], parent: str) -> str:
    return SHORTHANDS.get(parent) or SHORTHANDS[parents[0]]


def _anchor(config: dict[str, Any], folder: Path) -> None:
    for section, key in PATHS:
        found: Any = config
        for part in section.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        for block in found if isinstance(found, list) else [found]:
            if isinstance(block, dict) and isinstance(block.get(key), str):
                block[key] = _anchored(key, block[key], folder)


def _anchored(key: str, value: str, folder: Path) -> str:
    if key == "encoder" and value == PACKAGED:
        return value
    if value.startswith(BUNDLED):
        return str(PRESETS / value.removeprefix(BUNDLED))
    return str((folder / Path(value).expanduser()).resolve())


def _inline_seeds(config: dict[str, Any]) -> None:
    """Workers on other machines have no such file: the seeds travel within the configuration."""
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
    """The keys of the section that holds the last part of `location`."""
    model: Any = Experiment
    for part in location[:-1]:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        model = _section(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section(inner))), None)


E = TypeVar("E", bound=Endpoint)


def pin_recordings(experiment: Experiment) -> Experiment:
    """With the hashes of its recordings: another file makes another run, and workers refuse it. Raises
    DatasetError with file, line and reason."""
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
