"""Set single keys of an experiment from the command line: `--set steps.draft.samples=3`."""

from __future__ import annotations

from typing import Any

from models.core.errors import ExperimentError
from models.core.kinds import KINDS
from models.core.near_names import did_you_mean
from producer.experiments.roles import users_path
from producer.experiments.yaml_files import NOT_YAML, parse_yaml

# Keys of steps that take a text.
FILES = [item for kind in KINDS.values() for item in kind.files.items()]
TEXTS = {"when", *(key for key, content in FILES if content == "text")}
# The main key of a mapping that may be given as a text.
SHORTHANDS = {
    "train": "file",
    "test": "file",
    "data": "path",
    "teacher": "backend",
    "students": "backend",
    "models": "backend",
    "model": "backend",
}


def override(config: dict[str, Any], text: str) -> None:
    """Change one key of the configuration. Raise ExperimentError."""
    key, separator, value_text = text.partition("=")
    if not separator or not key:
        raise ExperimentError("--set", text, "give it as key.key=value")
    *outer, last = _keys(config, key)
    parents = [str(each) for each in users_path(config, [int(n) if n.isdecimal() else n for n in outer])]
    _require_step(config, key, parents)
    value = _value(value_text, is_text=parents[:1] == ["steps"] and last in TEXTS)
    section: Any = config
    try:
        for parent in parents:
            index: Any = int(parent) if isinstance(section, list) else parent
            if isinstance(section, dict):
                section.setdefault(index, {})
            if isinstance(section[index], str):
                section[index] = {SHORTHANDS.get(parent) or SHORTHANDS[parents[0]]: section[index]}
            section = section[index]
        section[int(last) if isinstance(section, list) else last] = value
    except (ValueError, IndexError, TypeError, KeyError):
        raise ExperimentError("--set", key, "there is no such key in the experiment") from None


def _keys(config: Any, key: str) -> list[str]:
    """Return the parts of a dotted key; a part that stands in the configuration may have dots itself."""
    parts, keys = key.split("."), []
    section = config
    while parts:
        known = section if isinstance(section, dict) else {}
        lengths = (length for length in range(len(parts), 0, -1) if ".".join(parts[:length]) in known)
        length = next(lengths, 1)
        keys.append(".".join(parts[:length]))
        section, parts = known.get(keys[-1]), parts[length:]
    return keys


def _value(text: str, is_text: bool) -> Any:
    """Return the YAML value of a text, or the text where one is wanted and it is not in quotes."""
    if is_text and not text.startswith(("'", '"')):
        return text
    try:
        return parse_yaml(text)
    except NOT_YAML:
        return text


def _require_step(config: dict[str, Any], key: str, parents: list[str]) -> None:
    """Raise ExperimentError for a key of a step that there is not."""
    steps = config.get("steps") or {}
    match parents:
        case ["steps", step, *_] if isinstance(steps, dict) and step not in steps:
            names = [str(each) for each in steps]
            known = f"steps are {', '.join(names)}" if names else "the experiment has no steps"
            remedy = did_you_mean(step, names, known)
            raise ExperimentError("--set", key, f"there is no step {step}; {remedy}")
