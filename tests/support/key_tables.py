"""Tables of the keys of an experiment, their types, defaults and meanings, written from the models.

A key is described by the text below it in its class, which costs nothing while the program runs.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import Alternative
from models.core.experiment.problems import TAKEN_OUT
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
from models.core.kinds import KINDS
from models.core.kinds.step import StepSettings

BAR = r"\|"  # as a table of Markdown has it


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |\n" for line in lines)


def keys() -> Iterator[str]:
    yield "## Keys of an experiment\n"
    yield f"{paragraphs(Experiment.__doc__)}\n"
    yield _table_of(Experiment, extra=[[f"`{key}`", text, "", ""] for key, text in TAKEN_OUT.items()])
    for path, section in _below(Experiment, ""):
        yield f"### {path}\n\n{paragraphs(section.__doc__)}\n"
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
        [f"`{key}`", texts[key], takes(field), default(field)]
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
                yield name, one_line(value)


def kinds() -> Iterator[str]:
    yield "## Steps\n"
    yield "A step may leave `kind` out where another key tells it.\n"
    signs = ([f"`{kind}`", ", ".join(f"`{sign}`" for sign in step.signs)] for kind, step in KINDS.items())
    yield table(["kind", "told by"], signs)
    yield f"### Keys of every step\n\n{paragraphs(StepSettings.__doc__)}\n"
    yield _table_of(StepSettings)
    for kind, step in KINDS.items():
        yield f"### {kind}\n\n{paragraphs(step.__doc__)}\n"
        yield _table_of(step, skip=dict(_fields(StepSettings)))
        for path, section in _below(step, kind):
            yield f"### {path}\n\n{paragraphs(section.__doc__)}\n"
            yield _table_of(section)


def takes(field: FieldInfo) -> str:
    """Return what may stand at a key, such as `a whole number from 1 to 100`."""
    kinds = types_of(field.annotation, field.metadata)
    words = wanted(kinds).replace(MAPPING, "a mapping")
    items = [each for kind in kinds for each in inside(kind, 0)]
    return f"{words} of: {wanted(items)}" if words == "a list" and wanted(items) else words


def default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    text = str(value) if isinstance(value, str | Path) else json.dumps(value).removesuffix(".0")
    return f"`{text}`" if text else ""


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def paragraphs(text: str | None) -> str:
    """Return a docstring with its paragraphs, less the headings of Sphinx."""
    return inspect.cleandoc(text or "")
