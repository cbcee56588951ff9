"""Say in plain words what is wrong with an experiment: which key, what it takes, and what was found.

Pydantic's own words never reach a user; those of validators of this package do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from itertools import chain
from math import isfinite
from typing import Any

from pydantic import BaseModel, ValidationError

from models.core.experiment.schema_words import (
    MAPPING,
    FieldType,
    choices_of,
    homes,
    inside,
    key_types,
    keys_of,
    one_of,
    wanted,
    written_keys,
)

Key = str | int
# Their values may hold a password, or are a key by mistake.
SECRET = {"base_url", "replicas", "api_key_env", "headers", "query", "params"}
# What may be written in place of a mapping.
SHORT = {
    **dict.fromkeys(("data", "train", "test", "teacher", "model", "models", "students"), "a text"),
    "score": "a list of two numbers",
}
# Keys at the top that the loading takes out.
TAKEN_OUT = {
    "pipeline": "`star`, the default, which the sections from `augment` to `grow` describe; or give `steps`",
    "prompts": "templates in place of those of the task folder: a text or a file for each of `rationale`, "
    "`answer`, `augment`, `verdict`, `grow`, `export`; a text without blocks is the block `user`",
}
# Parameters of models.
PARAMS = {"frequency_penalty", "max_completion_tokens", "max_tokens", "presence_penalty", "reasoning_effort",
          "response_format", "stop", "temperature", "top_k", "top_p"}  # fmt: skip
NEAR = 0.75
LONGEST = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that the validation reports at a path of keys.

    `allowed` may stand there; in a section with a wrong key `known` are the right ones. `of_key` means that
    the name is wrong, not the value.
    """

    path: tuple[Key, ...]
    type: str
    value: Any
    message: str
    allowed: Sequence[FieldType] = ()
    known: Sequence[str] = ()
    of_key: bool = False


def explain(error: ValidationError, root: type[BaseModel]) -> tuple[tuple[Key, ...], str]:
    """Return the path of the first key that is wrong, and what is wrong with it, in one line."""
    faults = list(_faults(error, FieldType(root)))
    slips = [fault for fault in faults if fault.type == "extra_forbidden" or fault.of_key]
    first = faults[0].path
    # Of a union the part that fits best is meant.
    below = [fault for fault in faults if fault.path[: len(first)] == first]
    fault = slips[0] if slips else max(below, key=lambda each: len(each.path))
    problem = _unknown_key(fault, root) if fault.type == "extra_forbidden" else _problem(fault)
    return fault.path, " ".join(problem.split())


def _faults(error: ValidationError, root: FieldType, outer: tuple[Key, ...] = ()) -> Iterator[Fault]:
    for each in error.errors(include_url=False):
        path, allowed, known = _located(each["loc"], root, each["type"])
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError) and allowed:
            yield from _faults(cause, allowed[0], (*outer, *path))
        elif each["type"] == "union_tag_not_found" and (stray := _stray_keys(each["input"], allowed)):
            keys = sorted({key for each in allowed if each.section for key in keys_of(each.section)})
            yield Fault((*outer, *path, stray[0]), "extra_forbidden", None, "", (), keys)
        elif each["type"] == "union_tag_invalid":
            yield Fault((*outer, *path, "kind"), each["type"], each["input"].get("kind"), "", allowed)
        else:
            of_key = "[key]" in each["loc"]
            yield Fault(
                (*outer, *path), each["type"], each["input"], str(cause or ""), allowed, known, of_key
            )


def _stray_keys(value: Any, allowed: Sequence[FieldType]) -> list[str]:
    """Return the keys that no kind of section has."""
    known = {key for each in allowed if each.section for key in keys_of(each.section)}
    return [str(key) for key in value if key not in known] if isinstance(value, Mapping) else []


def _located(
    location: Sequence[Key], root: FieldType, error: str
) -> tuple[tuple[Key, ...], list[FieldType], Sequence[str]]:
    """Return the keys of a location, without the validation's own marks, what may stand there, and the keys
    of the section around it."""
    path: list[Key] = []
    here, around = [root], [root]
    for number, key in enumerate(location):
        is_unknown = error in ("extra_forbidden", "invalid_key") and number == len(location) - 1
        below = [] if is_unknown else list(chain.from_iterable(inside(each, key) for each in here))
        if key == "[key]":
            here = list(chain.from_iterable(key_types(each) for each in around))
        elif is_unknown or below:
            path.append(key)
            here, around = below, here
        elif kind := [each for each in here if _kind(each) == key]:
            here = kind
    known = {key for each in around if each.section for key in written_keys(each.section)}
    return tuple(path), here, sorted(known)


def _kind(each: FieldType) -> str | None:
    """Return the kind of step whose keys the section has."""
    field = each.section.model_fields.get("kind") if each.section else None
    return field.default if field else None


def _unknown_key(fault: Fault, root: type[BaseModel]) -> str:
    """Return the nearest key of the section, or the sections to which the key belongs."""
    key, is_top = str(fault.path[-1]), len(fault.path) == 1
    known = [*fault.known, *(TAKEN_OUT if is_top else ())]
    elsewhere = homes(root).get(key, [])
    # A key that another section has is not taken for one that loading takes out.
    near = get_close_matches(key, fault.known if elsewhere else known, n=1)
    if near and (not elsewhere or SequenceMatcher(None, key, near[0]).ratio() >= NEAR):
        return f"unknown key; did you mean {near[0]}?"
    if "" in elsewhere:
        return f"unknown key; {key} stands at the top of the experiment, beside name"
    if near := get_close_matches(key, PARAMS, n=1):
        where = "params" if "params" in known else "params of a model or a step"
        return f"unknown key; {near[0]} belongs under {where}"
    if elsewhere:
        return f"unknown key; it belongs under {one_of(sorted(elsewhere, key=len)[:3])}"
    return f"unknown key; known are {', '.join(known)}"


def _problem(fault: Fault) -> str:
    value, shown = fault.value, ""
    if not SECRET.intersection(map(str, fault.path)):
        shown = f", found {describe(value)}"
    match fault.type:
        case "missing":
            return "is required"
        case "invalid_key":
            return f"a key must be a text, found {describe(fault.path[-1])}{_quotes(fault.path[-1])}"
        case "union_tag_not_found":
            signs = [f"{one_of(signs)} means {_kind(each)}" for each in fault.allowed
                     if (signs := getattr(each.section, "signs", ()))]  # fmt: skip
            return f"lacks a kind; set kind, or a key that tells it: {', '.join(signs)}"
        case "union_tag_invalid":
            kinds = [str(_kind(each)) for each in fault.allowed]
            return f"takes {one_of(kinds)}{shown}{_near(value, kinds)}"
        case "value_error" | "assertion_error":
            is_section = isinstance(value, Mapping | BaseModel)
            return fault.message if is_section or not shown else f"{fault.message}{shown}"
    takes = wanted(fault.allowed)
    if takes == MAPPING and fault.path and fault.path[-1] in SHORT:
        takes = f"{SHORT[str(fault.path[-1])]} or {MAPPING}"
    return f"takes {takes or 'something else'}{shown}{_hint(value, takes, fault)}"


def describe(value: Any) -> str:
    """Return a value in plain words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}" if isfinite(value) else f"{value}, which is not finite"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str):
        return f"the text {text if len(text) <= LONGEST else text[: LONGEST - 4] + '...' + chr(34)}"
    if isinstance(value, list):
        return f"the list {text}" if len(text) <= LONGEST else "a list"
    return "a mapping" if isinstance(value, dict) else f"{value}"


def _hint(value: Any, takes: str, fault: Fault) -> str:
    """Return what to write in place of a value, if that can be told."""
    if takes.startswith(("a text", "a name")):
        return _quotes(value)
    if not isinstance(value, str):
        return ""
    choices = [str(choice) for each in fault.allowed for choice in choices_of(each)]
    is_short = len(value) < LONGEST
    if fault.path[-1] == "backend" and is_short and not get_close_matches(value, choices):
        return f"; a model of OpenAI is {{backend: openai, model: {value}}}"
    if takes.startswith("a list") and is_short:
        return f"; write it in brackets: [{value}]"
    if fault.path[:1] == ("steps",) and len(fault.path) == len(("steps", "name")):
        return "; write it as {prompt: ...}"
    return _near(value, choices)


def _quotes(value: Any) -> str:
    if isinstance(value, bool):
        return "; YAML reads yes, no, on and off as true and false: put the word in quotes"
    return "; put it in quotes" if isinstance(value, int | float) or hasattr(value, "isoformat") else ""


def _near(value: Any, choices: Sequence[str]) -> str:
    near = get_close_matches(str(value), choices, n=1)
    return f"; did you mean {near[0]}?" if near else ""
