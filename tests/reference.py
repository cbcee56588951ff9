"""The reference of commands, settings and keys, written from the code: `python -m tests.reference`.

A key is described by the text below it in its class, which costs nothing while the program runs.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from enum import EnumMeta
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.core.answers.checks import FAILURE_MODES, REASONS
from models.core.correctness import RULE_MEANINGS
from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import METRICS
from models.core.experiment.passages import Alternative
from models.core.experiment.problems import TAKEN_OUT
from models.core.experiment.quality_filters import FILTERS
from models.core.experiment.schema_words import (
    FROZEN,
    MAPPING,
    inside,
    keys_of,
    types_of,
    wanted,
    written_keys,
)
from models.core.experiment.task_folder import TaskFolder
from models.core.growth import DROPS
from models.core.kinds import KINDS
from models.core.kinds.step import StepSettings
from producer import cli
from producer.cli.commands import app
from producer.serve.metrics import FAMILIES
from storage.settings import Settings

REFERENCE = Path(__file__).parents[1] / "producer" / "REFERENCE.md"
BAR = r"\|"  # as a table of Markdown has it
HEAD = """# Reference

Every command, setting and key, written from the code by `make reference`. The guides explain them:
[experiments](README.md), [tasks](../models/README.md), [documentation](../storage/README.md),
[models and workers](../worker/README.md), [many machines](../deploy/README.md).
"""


def reference() -> str:
    """Return the whole page."""
    parts = [HEAD, "## Commands\n", *commands(), *exit_codes(), *settings(), *keys(), *kinds(), *reasons()]
    return "\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |\n" for line in lines)


@cache
def all_commands() -> dict[str, Any]:
    """Return every command by its words, such as `index build`."""
    return dict(_commands_below("", app))


def _commands_below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield words.strip(), command.load()
        return
    if hasattr(command, "default"):
        yield words.strip(), command.default.load()
    for name, inner in command.commands.items():
        yield from _commands_below(f"{words} {name}", inner)


def commands() -> Iterator[str]:
    for words, command in all_commands().items():
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = " ".join(["starmill", words, *map(_argument, arguments), *["[OPTIONS]"] * bool(options)])
        yield f"### {words}\n\n`{usage}`\n\n{_sentences(command.help)}\n"
        if command.params:
            rows = ([_names(each), _means(each)] for each in command.params)
            yield table(["argument or option", "meaning"], rows)


def _argument(argument: Any) -> str:
    bare = (argument.metavar or argument.name.upper()).replace("[", "").replace("]", "").removesuffix("...")
    name = bare + "..." * (argument.nargs == -1)
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or _choices(parameter) or _kind(parameter)}"
    names = sorted(parameter.opts, key=len)
    return ", ".join(f"`{name}`" for name in names[:-1]) + ", " * (len(names) > 1) + f"`{names[-1]}{value}`"


def _choices(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    inner = list(kind) if isinstance(kind, EnumMeta) else get_args(kind)
    if len(inner) == 1 and isinstance(inner[0], EnumMeta):
        inner = list(inner[0])
    return "|".join(str(choice) for choice in inner if isinstance(choice, str))


def _kind(parameter: Any) -> str:
    return {int: "N", float: "X", Path: "PATH"}.get(parameter.type_descriptor.annotation, "TEXT")


def _means(parameter: Any) -> str:
    default, end = parameter.default, ""
    is_told = "default" in (parameter.help or "")
    if default not in (None, False, "", ()) and not callable(default) and not is_told:
        end = f" (default: `{default}`)"
    return f"{_one_line(parameter.help)}{end}"


def exit_codes() -> Iterator[str]:
    codes = re.findall(r"(\d) ([^,.]+)", (cli.__doc__ or "").partition("\n\n")[2])
    yield "## Exit codes\n"
    yield table(["code", "meaning"], ([f"`{code}`", meaning] for code, meaning in codes))


def settings() -> Iterator[str]:
    yield "## Settings\n\nThey stand in the environment, or in `.env` in the working directory.\n"
    rows = (
        [f"`STARMILL_{name.upper()}`", _one_line(field.description), _takes(field), _default(field)]
        for name, field in Settings.model_fields.items()
    )
    yield table(["setting", "meaning", "takes", "default"], rows)


def keys() -> Iterator[str]:
    yield "## Keys of an experiment\n"
    yield f"{_sentences(Experiment.__doc__)}\n"
    yield _table_of(Experiment, extra=[[f"`{key}`", text, "", ""] for key, text in TAKEN_OUT.items()])
    for path, section in _below(Experiment, ""):
        yield f"### {path}\n\n{_sentences(section.__doc__)}\n"
        yield _table_of(section)


def _below(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every mapping below a section, each once, by the path of its key."""
    seen: set[type[BaseModel]] = {TaskFolder, Alternative, *KINDS.values()}
    pending = [(path, section)]
    while pending:
        at, each = pending.pop(0)
        if issubclass(each, Model):
            at, each = "models.NAME", Model
        if each is not section and (each in seen or not each.model_fields):
            continue
        if each is not section:
            yield at, each
        seen.add(each)
        inner = ((key, model) for key, field in _fields(each) for model in _inner(field))
        pending[:0] = [(f"{at}.{key}".strip("."), model) for key, model in inner]


def _fields(section: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    fields = section.model_fields
    aliases = {id(field): key for key, field in _written(section)}
    return [(aliases[id(field)], field) for field in fields.values() if id(field) in aliases]


def _written(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    known = keys_of(section)
    return ((key, known[key]) for key in written_keys(section) if key not in FROZEN)


def _inner(field: FieldInfo) -> Iterator[type[BaseModel]]:
    for each in types_of(field.annotation):
        yield from _models_in(each.type)


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models_in(inner)


def _table_of(section: type[BaseModel], skip: Iterable[str] = (), extra: Iterable[list[str]] = ()) -> str:
    texts = descriptions(section)
    rows = [
        [f"`{key}`", texts[key], _takes(field), _default(field)]
        for key, field in _fields(section)
        if key not in skip
    ]
    return table(["key", "meaning", "takes", "default"], [*rows, *extra])


def descriptions(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a class and of those that it is derived from."""
    texts: dict[str, str] = {}
    for each in reversed(section.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            [node] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            texts |= dict(_texts_below(node))
    names = {id(field): name for name, field in section.model_fields.items()}
    return {key: texts[names[id(field)]] for key, field in _fields(section)}


def _texts_below(node: Any) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(value))):
                yield name, _one_line(value)


def kinds() -> Iterator[str]:
    yield "## Steps\n"
    yield "A step may leave `kind` out where another key tells it.\n"
    signs = ([f"`{kind}`", ", ".join(f"`{sign}`" for sign in step.signs)] for kind, step in KINDS.items())
    yield table(["kind", "told by"], signs)
    yield f"### Keys of every step\n\n{_sentences(StepSettings.__doc__)}\n"
    yield _table_of(StepSettings)
    for kind, step in KINDS.items():
        yield f"### {kind}\n\n{_sentences(step.__doc__)}\n"
        yield _table_of(step, skip=dict(_fields(StepSettings)))
        for path, section in _below(step, kind):
            yield f"### {path}\n\n{_sentences(section.__doc__)}\n"
            yield _table_of(section)


def reasons() -> Iterator[str]:
    yield "## Filters of quality\n"
    yield _listed("filter", FILTERS, "marks a row that")
    yield "## Rules of right and wrong\n"
    yield _listed("rule", RULE_MEANINGS, "an answer is right if")
    yield "## Metrics of a report\n"
    yield _listed("metric", METRICS)
    yield "## Answers that are not accepted\n"
    yield _listed("reason", {name: reason.description for name, reason in REASONS.items()})
    yield "## Failure modes of kept texts\n"
    yield _listed("mode", FAILURE_MODES, "the text")
    yield "## Grown pairs that are dropped\n"
    yield _listed("reason", DROPS, "the pair is")
    yield "## Metrics for Prometheus\n"
    rows = (
        [f"`{name}`", "counter" if name.endswith("_total") else "gauge", ", ".join(labels), meaning]
        for name, (labels, meaning) in FAMILIES.items()
    )
    yield table(["metric", "type", "labels", "meaning"], rows)


def _listed(what: str, texts: Mapping[str, str], means: str = "meaning") -> str:
    return table([what, means], ([f"`{name}`", text] for name, text in texts.items()))


def _takes(field: FieldInfo) -> str:
    """Return what may stand at a key, such as `a whole number from 1 to 100`."""
    kinds = types_of(field.annotation, field.metadata)
    words = wanted(kinds).replace(MAPPING, "a mapping")
    items = [each for kind in kinds for each in inside(kind, 0)]
    return f"{words} of: {wanted(items)}" if words == "a list" and wanted(items) else words


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    text = str(value) if isinstance(value, str | Path) else json.dumps(value).removesuffix(".0")
    return f"`{text}`" if text else ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _sentences(text: str | None) -> str:
    """Return a docstring with its paragraphs, less the headings of Sphinx."""
    return inspect.cleandoc(text or "")


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
