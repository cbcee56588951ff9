"""Prompt templates: Jinja2 in its sandbox, without the parts that could make a prompt endless.

Nothing can be called, set, included or multiplied, and loops go over lists only and cannot be nested. So a
template ends, reaches nothing of Python, and makes a prompt that its fields bound.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.core.errors import TaskFolderError

# Characters.
LONGEST_SOURCE = 20_000
LONGEST_PROMPT = 4_000_000
# The fields of each block, by template.
BLOCKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "augment": {"system": (), "many": (), "user": ("request",)},
    "rationale": {"system": (), "user": ("request", "passages", "hint", "hint_style")},
    "answer": {"user": ("request", "passages"), "worked": ("answer", "rationale")},
    "verdict": {"system": (), "user": ("request", "answer", "reference")},
    "grow": {"system": (), "shown": ("request", "answer"), "user": ("count",)},
    "export": {"system": (), "user": ("request", "passages"), "assistant": ("rationale", "answer")},
}
OPTIONAL_BLOCKS = {("augment", "many"), ("export", "system"), ("export", "assistant")}
# The blocks that may also name columns of the row that they show. A field wins over a column of its name.
COLUMN_BLOCKS = {
    ("rationale", "user"), ("answer", "user"), ("answer", "worked"), ("verdict", "user"), ("export", "user"),
    ("export", "assistant"),
}  # fmt: skip
NO_COLUMNS = {"self", "super", "loop", "caller"}
FILTERS = ("capitalize", "first", "last", "length", "lower", "trim", "upper")
LOOP = ("first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex", "revindex0")
PASSAGE = ("line", "name", "signature", "text")
# Fields that are lists; every other field is a text, or `hint` none, or `count` a number.
LISTS = ("passages",)
_FILES = "other files cannot be included, imported or extended; write their text here"
_MACROS = "macros are not known; write their text where it belongs"
_VARIABLES = "variables cannot be set; take fields"
_ENLARGES = "there is no *, ** or %; join texts with ~"
REFUSED: Mapping[type[nodes.Node], str] = {
    **dict.fromkeys((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends), _FILES),
    **dict.fromkeys((nodes.Macro, nodes.CallBlock), _MACROS),
    **dict.fromkeys((nodes.Assign, nodes.AssignBlock, nodes.With), _VARIABLES),
    **dict.fromkeys((nodes.Mul, nodes.Pow, nodes.Mod), _ENLARGES),
    nodes.Call: "nothing can be called; take fields and filters",
}
_FAILURES = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Template:
    """One prompt template over the fields of BLOCKS and over `columns` of the data, any if these are None.

    Raises TaskFolderError with the line and a remedy.
    """

    def __init__(self, name: str, source: str, file: str = "", columns: Collection[str] | None = ()) -> None:
        self._name = name
        self._file = file or f"{name}.j2"
        # The columns that each block names.
        self._columns: dict[str, set[str]] = {}
        if len(source) > LONGEST_SOURCE:
            raise self._error(None, f"is longer than {LONGEST_SOURCE:,} characters; shorten it")
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._require_bounded(tree)
            code = environment.compile(tree)
            self._require_known(tree, BLOCKS[name], columns)
        except jinja2.TemplateSyntaxError as error:
            raise self._error(error.lineno, f"is no valid template: {error.message}") from None
        except (RecursionError, SyntaxError, MemoryError):
            raise self._error(None, "is nested too deeply; write it flat") from None
        except ValueError as error:  # a number of thousands of digits
            raise self._error(None, f"is no valid template: {error}") from None
        self._compiled = environment.template_class.from_code(environment, code, {})
        self._mentions = 1 + sum(1 for _ in tree.find_all(nodes.Name))
        passages = [dict.fromkeys(PASSAGE, "x")] * 3
        # What a column holds is not known yet.
        testable = [block for block in self._compiled.blocks if not self._columns[block]]
        for block, hint in product(testable, (None, "x")):
            sample: dict[str, Any] = dict.fromkeys(BLOCKS[name][block], "x") | {
                "passages": passages,
                "hint": hint,
                "count": 1,
            }
            self.render(block, **sample)

    def has(self, block: str) -> bool:
        return block in self._compiled.blocks

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the data that the template names."""
        return frozenset().union(*self._columns.values())

    def render(self, block: str, columns: Mapping[str, Any] = MappingProxyType({}), **values: Any) -> str:
        """Return the text of a block without its last line break. A column that the row lacks is empty."""
        values = {name: _shown(columns.get(name)) for name in self._columns[block]} | values
        # Limits the text of a single expression; the loop below counts the text of all.
        if self._mentions * sum(map(_size, values.values())) > LONGEST_PROMPT:
            raise self._too_long(block)
        parts: list[str] = []
        room = LONGEST_PROMPT
        try:
            for part in self._compiled.blocks[block](self._compiled.new_context(values)):
                parts.append(part)
                room -= len(part)
                if room < 0:
                    raise self._too_long(block)
        except _FAILURES as error:
            line = self._line_of(error)
            raise self._error(line, f"block {block!r} cannot be rendered: {error}") from None
        return "".join(parts).removesuffix("\n")

    def _require_bounded(self, tree: nodes.Template) -> None:
        """Raise TaskFolderError for nodes that could act, hang or fill the memory."""
        for node in tree.find_all(nodes.Node):
            if remedy := REFUSED.get(type(node)):
                raise self._error(node.lineno, remedy)
            if isinstance(node, nodes.Filter):
                self._require(node, "filter", node.name, FILTERS)
            if isinstance(node, nodes.For):
                names = {name.name for name in nodes.Output([node.iter]).find_all(nodes.Name)}
                if not names <= set(LISTS):
                    example = "{% for passage in passages %}"
                    raise self._error(node.lineno, f"loops go over {', '.join(LISTS)} only, as in {example}")
                if node.find(nodes.For):
                    raise self._error(node.lineno, "a loop cannot stand within a loop")

    def _require_known(
        self, tree: nodes.Template, known: Mapping[str, tuple[str, ...]], columns: Collection[str] | None
    ) -> None:
        """Raise TaskFolderError unless all text is in known blocks, and each of these uses its own fields
        and, where it may, columns."""
        for node in tree.body:
            if not isinstance(node, nodes.Block) and (line := _text_line(node)):
                raise self._error(line, f"text outside of a block; put it into {', '.join(known)}")
        blocks = {block.name: block for block in tree.find_all(nodes.Block)}
        for name, block in blocks.items():
            self._require(block, "block", name, known)
            body = nodes.Template(block.body, lineno=block.lineno)
            body.set_environment(_environment())
            undeclared = {"self", *meta.find_undeclared_variables(body)}
            used = [node for node in block.find_all(nodes.Name) if node.name in undeclared]
            may = columns if (self._name, name) in COLUMN_BLOCKS else ()
            self._columns[name] = {node.name for node in used} - {*known[name], *NO_COLUMNS}
            for node in used:
                if may is not None or node.name in NO_COLUMNS:
                    self._require(node, "field", node.name, (*known[name], *(may or ())))
        for node in tree.find_all(nodes.Expr):
            match node:
                case nodes.Getattr(attr=name) | nodes.Getitem(arg=nodes.Const(value=str(name))):
                    self._require(node, "attribute", name, PASSAGE + LOOP)
        for name in known:
            if name not in blocks and (self._name, name) not in OPTIONAL_BLOCKS:
                raise self._error(1, f"block {name!r} is missing; write it between "
                                     f"{{% block {name} %}} and {{% endblock %}}")  # fmt: skip

    def _require(self, node: nodes.Node, kind: str, name: str, known: Collection[str]) -> None:
        if name not in known:
            near = "".join(f"did you mean {other}? " for other in get_close_matches(name, known, n=1))
            names = ", ".join(known) or "none"
            raise self._error(node.lineno, f"there is no {kind} {name!r} here; {near}known are {names}")

    def _line_of(self, error: Exception) -> int | None:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == "<template>" and frame.lineno]
        return self._compiled.get_corresponding_lineno(lines[-1]) if lines else None

    def _too_long(self, block: str) -> TaskFolderError:
        problem = f"block {block!r} makes a prompt of more than {LONGEST_PROMPT:,} characters"
        return self._error(None, f"{problem}; shorten the request, or show fewer passages")

    def _error(self, line: int | None, problem: str) -> TaskFolderError:
        return TaskFolderError(self._file, line, problem)


@lru_cache(maxsize=256)
def compile_template(name: str, source: str) -> Template:
    """Return the template of this source, compiled once per process; it may name any column."""
    return Template(name, source, columns=None)


def _text_line(node: nodes.Node) -> int | None:
    """Return the first line of a node that is not blank."""
    match node:
        case nodes.Output(nodes=[nodes.TemplateData(data=data), *more]):
            text = data.lstrip()
            blank = data.removesuffix(text)
            return node.lineno + blank.count("\n") if text or more else None
    return node.lineno


def _shown(value: Any) -> Any:
    """Return a value of a column as templates see it: lists and objects are JSON, null is empty."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def _size(value: Any) -> int:
    """Return the number of characters that rendering `value` once can make."""
    if isinstance(value, list):
        return sum(len(text) for item in value for text in item.values())
    return len(value) if isinstance(value, str) else 0


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment
