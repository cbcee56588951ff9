"""Give the models of the section `models` their roles: teacher, judge, students, or none.

An entry `teacher` or `judge` plays that role unless the experiment sets it itself. Where a model is expected,
a text that names an entry means that entry, any other text is a backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from textwrap import shorten
from typing import Any, get_args

from models.core.errors import ExperimentError
from models.core.experiment.endpoints import Model
from models.core.near_names import did_you_mean

ROLES = ("teacher", "judge")
BACKENDS: tuple[str, ...] = get_args(Model.model_fields["backend"].annotation)
KeyPath = tuple[Any, ...]


def assign_roles(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the experiment with a model in each role, and in `models` those that have none.

    Raise ExperimentError for a model that is not defined. What has a wrong type is left to the validation.
    """
    config = dict(config)
    models = config.get("models")
    if not isinstance(models, dict):
        return config
    if teacher := _role(config, "teacher", "teacher", models):
        config["teacher"] = _resolved(name, ("teacher",), teacher, models)
    judge = config.get("judge", {})
    if isinstance(judge, dict) and (model := _role(judge, "model", "judge", models)):
        config["judge"] = {**judge, "model": _resolved(name, ("judge", "model"), model, models)}
    students = config.get("students")
    if isinstance(students, list):
        config["students"] = [
            _resolved(name, ("students", number), model, models) for number, model in enumerate(students)
        ]
    judge_model = judge.get("model", "") if isinstance(judge, dict) else ""
    played = [teacher, judge_model, *(students if isinstance(students, list) else [])]
    taken = {*ROLES, *(each for each in played if isinstance(each, str))}
    config["models"] = {key: model for key, model in models.items() if key not in taken}
    return config


def users_path(config: Mapping[str, Any], path: Sequence[Any]) -> KeyPath:
    """Return the path at which the user wrote what stands at `path` of an experiment with roles."""
    match path:
        case ["teacher", *rest]:
            entry = _role(config, "teacher", "teacher", config.get("models"))
        case ["judge", "model", *rest]:
            entry = _role(config.get("judge", {}), "model", "judge", config.get("models"))
        case ["students", int(number), *rest]:
            students = config.get("students")
            entry = students[number] if isinstance(students, list) and number < len(students) else None
        case _:
            return tuple(path)
    models = config.get("models")
    is_named = isinstance(models, dict) and isinstance(entry, str) and entry in models
    return ("models", entry, *rest) if is_named else tuple(path)


def not_defined(name: str, models: Mapping[Any, Any]) -> str:
    """Return the words about a model that `models` lacks."""
    known = [str(each) for each in models]
    defined = f"{shorten(name, 60)} is not defined: models has {', '.join(known) or 'none'}"
    near = did_you_mean(name, known)
    return f"{defined}; {near}" if near else defined


def _role(section: Any, key: str, role: str, models: Any) -> Any:
    """Return what plays a role: what the section sets, or else the entry of its name."""
    if not isinstance(section, dict):
        return None
    return section.get(key, role if isinstance(models, dict) and role in models else None)


def _resolved(name: str, path: KeyPath, model: Any, models: Mapping[Any, Any]) -> Any:
    if not isinstance(model, str) or (model not in models and model in BACKENDS):
        return model
    if model not in models:
        raise ExperimentError(name, ".".join(map(str, path)), not_defined(model, models))
    entry = deepcopy(models[model])
    if isinstance(entry, str):
        entry = {"backend": entry}
    return {**entry, "name": model} if isinstance(entry, dict) else entry
