"""Whatever is wrong with an experiment: one line names the key, what it takes, and what was found there."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from models.core.errors import UsageError
from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import AugmentationSeed, RationaleSeed, SeedPassage, Split
from models.core.experiment.schema_words import FieldType, choices_of, keys_of, types_of, written_keys
from models.core.kinds import KINDS
from models.core.kinds.accepted_answers import Pattern
from producer.experiments.load import make_experiment, validated

# What pydantic says, and how it names places.
NEVER = ("Input should", "Extra inputs", "Value error", "Field required", "should have", "should match",
         "Keys should", "validation error", "pydantic", "discriminat", "union", "tag ", "function-", "[key]",
         "valid ", "Traceback", "type=", "<class", "NoneType", "\n")  # fmt: skip
STAR = {
    "name": "mine",
    "dataset": {"path": "data", "train": "train.jsonl", "test": "test.jsonl"},
    "passages": {"alternatives": {"other": {"top_k": 1}}},
    "models": {"spare": {"backend": "embedded"}},
    "teacher": {"backend": "embedded"},
    "students": [{"backend": "embedded"}],
    "judge": {"model": {"backend": "embedded"}},
}
STEPS = {
    "name": "mine",
    "dataset": {"path": "data", "train": "train.jsonl"},
    "passages": {},
    "models": {"teacher": "embedded", "judge": "embedded"},
    "steps": {"find": {"query": "q"}},
}
DATA = {**STAR, "data": {"path": "rows.csv"}, "split": {"test": 0.1}}
del DATA["dataset"]
# The keys that a section cannot do without.
NEEDED: dict[type[BaseModel], dict[str, Any]] = {
    Model: {"backend": "embedded"},
    Split: {"file": "a.jsonl"},
    AugmentationSeed: {"request": "r", "augmentation": "a"},
    RationaleSeed: {"request": "r", "rationale": "because"},
    SeedPassage: {"text": "t"},
    Pattern: {"text": "p"},
}
STRANGE: tuple[Any, ...] = (3.5, {"strange": {}}, "some\nwords", True, [[]])
STEP = {
    "generate": {"kind": "generate", "prompt": "p"},
    "judge": {"kind": "judge", "of": "a", "rule": "strict"},
    "vote": {"kind": "vote", "of": "a"},
    "retrieve": {"kind": "retrieve", "query": "q"},
    "python": {"kind": "python", "function": "f"},
}


def key_of(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def sections() -> dict[str, tuple[tuple[Any, ...], type[BaseModel]]]:
    """Every section of an experiment by the path to it."""
    return {
        ".".join(map(str, path)) or "top": (path, section)
        for path, section in _below((), FieldType(Experiment))
    }


def _below(path: tuple[Any, ...], allowed: FieldType) -> Iterator[tuple[tuple[Any, ...], type[BaseModel]]]:
    if allowed.section:
        yield path, allowed.section
        for key, field in keys_of(allowed.section).items():
            for inner in types_of(field.annotation, field.metadata) if key != "task" else ():
                yield from _below((*path, key), inner)
    elif get_args(allowed.type) and not choices_of(allowed):
        is_list = get_origin(allowed.type) is list
        for inner in types_of(get_args(allowed.type)[-1]):
            kind = inner.section.model_fields.get("kind") if inner.section else None
            name = kind.default if kind else "other"
            yield from _below((*path, 0 if is_list else name), inner)


SECTIONS = sections()
# Of the sections with the same keys one is enough.
DISTINCT = {section: name for name, (_, section) in reversed(SECTIONS.items())}.values()
STRICT = [name for name in DISTINCT if SECTIONS[name][1].model_config.get("extra") == "forbid"]


def refused(config: Any) -> str:
    with pytest.raises(UsageError) as error:
        validated("mine", config)
    line = str(error.value)
    assert not [words for words in NEVER if words in line], line
    assert len(line) < 420
    return line.removeprefix("mine: ")


def with_value(path: tuple[Any, ...], value: Any) -> Any:
    """An experiment that is right but for what stands at the path."""
    config: Any = deepcopy({"steps": STEPS, "data": DATA, "split": DATA}.get(path[0], STAR))
    section = config
    for depth, key in enumerate(path[:-1]):
        if isinstance(section, dict) and not isinstance(section.get(key), dict | list):
            section[key] = [{}] if path[depth + 1] == 0 else {}
        section = section[key]
        if below := SECTIONS.get(key_of(path[: depth + 1])):
            section.update({**needs(*below), **section})
    section[path[-1]] = value
    return config


def needs(path: tuple[Any, ...], section: type[BaseModel]) -> dict[str, Any]:
    if path[:-1] == ("steps",):
        return STEP[path[1]]
    return next((keys for each, keys in NEEDED.items() if issubclass(section, each)), {})


def test_every_section_is_tried() -> None:
    some = {"top", "dataset.train", "passages.weights", "passages.alternatives.other", "models.other.price",
            "students.0.engine", "judge.limits", "quality.near", "augment.seeds.0",
            "data.fields"}  # fmt: skip
    assert some | {f"steps.{kind}" for kind in KINDS} <= SECTIONS.keys()


@pytest.mark.parametrize("name", DISTINCT)
def test_wrong_type_is_refused_in_one_line(name: str) -> None:
    path, section = SECTIONS[name]
    for key, field in keys_of(section).items():
        allowed = types_of(field.annotation, field.metadata)
        for value in STRANGE:
            config = with_value((*path, key), value)
            if not any(may_be(value, each) for each in allowed) and not is_accepted(config):
                assert refused(config).startswith(key_of((*path, key))), (key, value)


def may_be(value: Any, allowed: FieldType) -> bool:
    if allowed.section:
        return isinstance(value, dict)
    kind = get_origin(allowed.type) or allowed.type
    is_number = value is True and kind is float
    return is_number or (isinstance(kind, type) and isinstance(value, kind))


def is_accepted(config: dict[str, Any]) -> bool:
    try:
        validated("mine", config)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("name", STRICT)
def test_misspelt_key_is_told_the_right_one(name: str) -> None:
    path, section = SECTIONS[name]
    for key in written_keys(section):
        line = refused(with_value((*path, f"{key}x"), 1))
        assert line.startswith(f"{key_of((*path, key))}x: unknown key; did you mean {key}?"), line


@pytest.mark.parametrize("name", DISTINCT)
def test_value_out_of_range_is_told_the_range(name: str) -> None:
    path, section = SECTIONS[name]
    for key, field in keys_of(section).items():
        for each in types_of(field.annotation, field.metadata):
            for value in out_of_range(each):
                line = refused(with_value((*path, key), value))
                assert line.startswith(f"{key_of((*path, key))}: takes "), line
                assert f"found the number {value}" in line or "params" in key


def out_of_range(allowed: FieldType) -> Iterator[float]:
    for bound, beyond in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
        if (limit := allowed.bound(bound)) is not None:
            yield limit + beyond


ODD: tuple[Any, ...] = (None, True, -1, 1.5, float("nan"), 10**30, "", "\0", "\ud800", "~nobody/x", "a b",
                       "x.txt", "{{", "a" * 500, [], [None], [[]], {}, {1: 2}, {"": None}, {"kind": None},
                       {"prompt": [1]})  # fmt: skip
PIPELINE = {
    "name": "mine",
    "data": "rows.csv",
    "split": {"test": 0.5},
    "passages": {"source": "jsonl", "path": "p"},
    "models": {"teacher": {"backend": "openai", "model": "m"}, "critic": "embedded"},
    "judge": {"model": "critic"},
    "steps": {
        "docs": {"query": "{{ a }}"},
        "draft": {"prompt": "{{ docs }}", "samples": 2, "system": "s", "check": {"words": {"most": 9}}},
        "score": {"prompt": "{{ draft }}", "score": [1, 5], "when": "draft == 1"},
        "best": {"of": "draft", "by": ["score.score"]},
    },
}


def test_odd_value_anywhere_is_accepted_or_refused_in_one_line(tmp_path: Path) -> None:
    for path in paths((), PIPELINE):
        for value in ODD:
            config: Any = deepcopy(PIPELINE)
            section = config
            for key in path[:-1]:
                section = section[key]
            section[path[-1]] = value
            line = outcome(config, tmp_path)
            assert not [words for words in NEVER if words in line], (path, value, line)


def outcome(config: dict[str, Any], folder: Path) -> str:
    """The line about an experiment; empty if it is right."""
    try:
        make_experiment("mine", config, folder)
    except UsageError as error:
        return str(error)
    return ""


def paths(path: tuple[Any, ...], value: Any) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths((*path, key), inner)
