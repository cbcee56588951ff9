"""Load experiment files and presets: overrides, the task folder, and one line for whatever is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from models.core.errors import ExperimentError
from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.experiment.parts import missing_part
from models.core.experiment.problems import describe, explain
from models.core.near_names import did_you_mean
from producer.experiments import task_folders
from producer.experiments.inline_files import inline_seeds, inline_steps, resolve_paths
from producer.experiments.overrides import SHORTHANDS, override
from producer.experiments.own_prompts import use_own_prompts
from producer.experiments.roles import assign_roles, users_path
from producer.experiments.task_folders import first_comment
from producer.experiments.yaml_files import NOT_YAML, read_yaml, yaml_problem
from storage.jsonl import read_recorded

PRESETS = Path(__file__).parent
# The sections that say which rows there are, and those of the pipeline star, which steps stand in for.
ROWS = ("data", "split", "dataset")
STAR = ("augment", "rationale", "grid", "students", "grow")
CONTENT = (
    "an experiment is a mapping of name, data, models and steps, or of name, dataset, teacher and students"
)


def presets() -> dict[str, str]:
    """Return the name of each shipped experiment, and its first comment line."""
    return {path.stem: first_comment(path) for path in sorted(PRESETS.glob("*.yaml"))}


def experiment_path(name: str) -> Path:
    """Return the file of a preset, or else the path `name`."""
    preset = PRESETS / f"{name}.yaml"
    return preset if "/" not in name and preset.is_file() else Path(name)


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """Load the preset or file `name` with `key.key=value` overrides. Raise like `make_experiment`."""
    path = experiment_path(name)
    is_preset = path.parent == PRESETS
    config = _read(path, name)
    # Paths in a file are relative to it; those in a preset and on the command line to the current folder.
    return make_experiment(name, config, Path.cwd() if is_preset else path.parent, overrides)


def make_experiment(
    name: str, config: dict[str, Any], folder: Path, overrides: Sequence[str] = ()
) -> Experiment:
    """Validate a configuration, filled in from its task folder. Its paths are relative to `folder`.

    Raise ExperimentError, DatasetError, TaskFolderError.
    """
    config = deepcopy(config)
    resolve_paths(config, folder, PRESETS)
    for text in overrides:
        if text.startswith("task="):
            override(config, text)
            folder = Path.cwd()
    has_steps = "steps" in config or any(text.startswith("steps") for text in overrides)
    config, folders = _with_task(name, config, folder, has_steps)
    inline_steps(name, config, [folder, *folders])
    for text in overrides:
        if not text.startswith("task="):
            override(config, text)
    resolve_paths(config, Path.cwd(), PRESETS)
    inline_steps(name, config, [Path.cwd(), *folders])
    inline_seeds(config)
    use_own_prompts(name, config, [folder, Path.cwd(), *folders])
    return validated(name, _with_pipeline(name, config))


def validated(name: str, config: dict[str, Any]) -> Experiment:
    """Return the experiment of a configuration that names no more files. Raise ExperimentError."""
    try:
        experiment = Experiment.model_validate(assign_roles(name, config))
    except ValidationError as error:
        path, problem = explain(error, Experiment)
        raise ExperimentError(name, ".".join(map(str, users_path(config, path))), problem) from None
    if lacking := missing_part(experiment):
        raise ExperimentError(name, "", lacking)
    return experiment


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        hint = did_you_mean(name, presets(), f"presets are {', '.join(presets())}")
        raise ExperimentError(name, "", f"no such experiment file or preset; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(name, "", f"cannot be read: {error}") from None
    except NOT_YAML as error:
        line, problem = yaml_problem(error)
        where = f"{name}:{line}" if line else name
        raise ExperimentError(where, "", f"not valid YAML: {problem}") from None
    if not isinstance(config, dict):
        raise ExperimentError(name, "", f"{'is empty' if config is None else 'is no mapping'}; {CONTENT}")
    return config


def _with_task(
    name: str, config: dict[str, Any], folder: Path, has_steps: bool
) -> tuple[dict[str, Any], list[Path]]:
    """Fill in the task folder that the experiment names. The experiment's own values win.

    Return the folders in which files of steps are looked for, too. Steps need no task folder, and take none
    of its sections that belong to the pipeline star.
    """
    if has_steps and "task" not in config:
        return config, []
    named = config.get("task", task_folders.DEFAULT)
    if not isinstance(named, str):
        raise ExperimentError(name, "task", "must be the name of a shipped task folder, or the path of one")
    task = task_folders.find_task(named, folder)
    frozen, decided = task_folders.read_task(task, for_steps=has_steps)
    resolve_paths(decided, task, PRESETS)
    if has_steps:
        unused = {*STAR, "judge", *(() if _retrieves(config) else ("passages",))}
        decided = {key: section for key, section in decided.items() if key not in unused}
    if {"data", "dataset"} & config.keys():
        decided = {key: section for key, section in decided.items() if key in config or key not in ROWS}
    given = {key: value for key, value in config.items() if key != "task"}
    return _merged(decided, given) | {"task": frozen}, [task]


def _with_pipeline(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration without `pipeline`, which says `star` or nothing beside steps.

    Raise ExperimentError for another pipeline, and for sections that steps do not use.
    """
    config = dict(config)
    pipeline = config.pop("pipeline", None)
    if "steps" not in config:
        if pipeline not in (None, "star"):
            problem = f"takes star, found {describe(pipeline)}; write another pipeline as steps"
            raise ExperimentError(name, "pipeline", problem)
        return config
    if config["steps"] == {}:
        raise ExperimentError(name, "steps", "there are none; write one, as NAME: {prompt: ...}")
    if pipeline is not None:
        raise ExperimentError(name, "pipeline", "stands beside steps, which are a pipeline; keep one of them")
    if unused := [key for key in STAR if key in config]:
        problem = "belongs to the pipeline star, and steps do not use it; remove it, or the steps"
        raise ExperimentError(name, unused[0], problem)
    if "passages" in config and not _retrieves(config):
        raise ExperimentError(
            name, "passages", "no step of kind retrieve searches them; add one, or remove them"
        )
    return config


def _retrieves(config: dict[str, Any]) -> bool:
    steps = config.get("steps")
    return isinstance(steps, dict) and any(
        isinstance(step, dict) and (step.get("kind") == "retrieve" or "query" in step)
        for step in steps.values()
    )


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


M = TypeVar("M", bound=Model)


def pin_recordings(experiment: Experiment) -> Experiment:
    """Add the hashes of the recordings: another file makes another run, and workers refuse it.

    Raise DatasetError with file, line and reason.
    """
    pinned: dict[str, Any] = {"students": [_pinned(student) for student in experiment.students]}
    if experiment.teacher:
        pinned["teacher"] = _pinned(experiment.teacher)
    if model := experiment.judge.model:
        pinned["judge"] = experiment.judge.model_copy(update={"model": _pinned(model)})
    pinned["models"] = {name: _pinned(model) for name, model in experiment.models.items()}
    return experiment.model_copy(update=pinned)


def _pinned(endpoint: M) -> M:
    if not endpoint.recording:
        return endpoint
    return endpoint.model_copy(update={"recording_sha256": read_recorded(endpoint).digest})
