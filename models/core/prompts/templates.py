"""What a prompt template may say: a small part of Jinja2, in which nothing can be called.

Texts, fields, conditions, loops over passages and a few filters. There are no calls, arithmetic, variables,
macros or other files, so a template ends, reaches nothing of Python, and its length is bounded by what it is
given; and whatever it names is known before anything is rendered.

Prompt templates: parsed once, refused before anything is rendered, rendered block by block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2 import Template as Compiled
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.core.errors import TaskFolderError

FILTERS = ("capitalize", "first", "last", "length", "lower", "trim", "upper")
# Fields that are lists, and what each of their items has.
ITEMS: Mapping[str, tuple[str, ...]] = {"passages": ("line", "name", "signature", "text")}
LOOP = ("first", "index", "index0", "last", "length")
TESTS = ("none",)
_PLAIN = (
    nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Const, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Concat,
)  # fmt: skip
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Include: "other files cannot be included; write their text here",
    nodes.Import: "other files cannot be imported; write their text here",
    nodes.FromImport: "other files cannot be imported; write their text here",
    nodes.Extends: "other files cannot be extended; write their text here",
    nodes.Call: "nothing can be called; take fields and filters",
    nodes.Macro: "macros are not known; write their text where it belongs",
    nodes.CallBlock: "macros are not known; write their text where it belongs",
    nodes.Assign: "variables cannot be set; take fields",
    nodes.AssignBlock: "variables cannot be set; take fields",
    nodes.With: "variables cannot be set; take fields",
    nodes.BinExpr: "there is no arithmetic; join texts with ~",
    nodes.UnaryExpr: "there is no arithmetic",
}


class NotAllowed(Exception):
    """What is wrong at `line`, which counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True)
class Scope:
    """What can be named: fields, and the variables of loops with the attributes that each has."""

    fields: tuple[str, ...]
    items: Mapping[str, tuple[str, ...]]


def require_plain(tree: nodes.Template, blocks: Mapping[str, tuple[str, ...]], needed: set[str]) -> None:
    """Raises NotAllowed unless the template is made of `blocks`, each of which names its own fields only."""
    found = set()
    for node in tree.body:
        if isinstance(node, nodes.Block):
            if node.name not in blocks:
                known = ", ".join(blocks)
                raise NotAllowed(node.lineno, f"there is no block {node.name!r} here; known are {known}")
            if node.name in found:
                raise NotAllowed(node.lineno, f"block {node.name!r} stands here twice; write it once")
            found.add(node.name)
            _check_all(node.body, Scope(blocks[node.name], {}))
        elif not _is_blank(node):
            _check(node, Scope((), {}))
            raise NotAllowed(_first_line(node), f"text outside of a block; put it into {', '.join(blocks)}")
    if missing := sorted(needed - found):
        raise NotAllowed(1, f"block {missing[0]!r} is missing; write it between "
                            f"{{% block {missing[0]} %}} and {{% endblock %}}")  # fmt: skip


def _check_all(found: list[nodes.Node], scope: Scope) -> None:
    for node in found:
        _check(node, scope)


def _check(node: nodes.Node, scope: Scope) -> None:
    match node:
        case nodes.Name(name=name):
            _require_known(node, name, scope)
        case nodes.Getattr(node=of, attr=attribute):
            _require_attribute(node, of, attribute, scope)
        case nodes.Getitem(node=of, arg=nodes.Const(value=str(attribute))):
            _require_attribute(node, of, attribute, scope)
        case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Slice()) if name in ITEMS:
            _require_known(node, name, scope)
            _require_constants(node)
        case nodes.For():
            _check_loop(node, scope)
        case nodes.Filter() | nodes.Test():
            _require_harmless(node)
            _check_all(list(node.iter_child_nodes()), scope)
        case _ if isinstance(node, _PLAIN):
            _check_all(list(node.iter_child_nodes()), scope)
        case _:
            raise NotAllowed(_first_line(node), _why_refused(node))


def _require_harmless(node: nodes.Filter | nodes.Test) -> None:
    kind, known = ("filter", FILTERS) if isinstance(node, nodes.Filter) else ("test", TESTS)
    if node.name not in known or node.args or node.kwargs:
        names = ", ".join(known)
        raise NotAllowed(
            node.lineno, f"there is no {kind} {node.name!r}; known are {names}, without arguments"
        )


def _require_known(node: nodes.Node, name: str, scope: Scope) -> None:
    if name not in scope.fields and name not in scope.items:
        known = ", ".join((*scope.fields, *scope.items)) or "none"
        raise NotAllowed(node.lineno, f"there is no field {name!r} here; known are {known}")


def _require_attribute(node: nodes.Node, of: nodes.Node, attribute: str, scope: Scope) -> None:
    """Only items of loops have attributes: fields are texts."""
    _check(of, scope)
    known = scope.items.get(of.name, ()) if isinstance(of, nodes.Name) else ()
    if attribute not in known:
        has = f"known are {', '.join(known)}" if known else "a text has no attributes"
        raise NotAllowed(node.lineno, f"there is no attribute {attribute!r} here; {has}")


def _require_constants(node: nodes.Getitem) -> None:
    for bound in node.arg.iter_child_nodes():
        if not isinstance(bound, nodes.Const):
            raise NotAllowed(node.lineno, "places in a list are numbers, as in passages[:2]")


def _check_loop(node: nodes.For, scope: Scope) -> None:
    over = node.iter.node if isinstance(node.iter, nodes.Getitem) else node.iter
    if node.recursive:
        raise NotAllowed(node.lineno, "loops cannot be recursive")
    if not (isinstance(over, nodes.Name) and over.name in ITEMS and isinstance(node.target, nodes.Name)):
        raise NotAllowed(node.lineno, f"loops go over {', '.join(ITEMS)} only, as in "
                                      "{% for passage in passages %}")  # fmt: skip
    if scope.items:
        raise NotAllowed(node.lineno, "a loop cannot stand within a loop")
    _check(node.iter, scope)
    inner = replace(scope, items={node.target.name: ITEMS[over.name], "loop": LOOP})
    _check_all([*node.body, *([node.test] if node.test else [])], inner)
    _check_all(node.else_, scope)


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(
        isinstance(part, nodes.TemplateData) and not part.data.strip() for part in node.nodes
    )


def _first_line(node: nodes.Node) -> int:
    """Text begins with the line breaks before it."""
    for part in node.nodes if isinstance(node, nodes.Output) else ():
        if isinstance(part, nodes.TemplateData) and part.data.strip():
            blank = part.data[: len(part.data) - len(part.data.lstrip())]
            return part.lineno + blank.count("\n")
    return node.lineno


def _why_refused(node: nodes.Node) -> str:
    for kind in type(node).__mro__:
        if kind in _REFUSED:
            return _REFUSED[kind]
    return f"{type(node).__name__.lower()} is not known in prompt templates"


# Characters.
LONGEST_SOURCE = 20_000
LONGEST_PROMPT = 4_000_000
# By template, the fields that each of its blocks is given.
BLOCKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "augment": {"system": (), "many": (), "user": ("request",)},
    "rationale": {"system": (), "user": ("request", "passages", "hint", "hint_style")},
    "answer": {"user": ("request", "passages"), "worked": ("answer", "rationale")},
    "verdict": {"system": (), "user": ("request", "answer", "reference")},
    "grow": {"system": (), "shown": ("request", "answer"), "user": ("count",)},
}
_OPTIONAL = {"many"}


class Template:
    """One prompt template. Raises TaskFolderError with the line, and what to write instead."""

    def __init__(self, name: str, source: str, file: str = "") -> None:
        self.name = name
        self._file = file or f"{name}.j2"
        if len(source) > LONGEST_SOURCE:
            raise TaskFolderError(
                self._file, None, f"is longer than {LONGEST_SOURCE:,} characters; shorten it"
            )
        self._compiled, self._blocks, self._mentions = self._compile(source)

    def has(self, block: str) -> bool:
        return block in self._blocks

    def render(self, block: str, **given: Any) -> str:
        """The text of a block, less its last line break."""
        weight = sum(_size(value) for value in given.values())
        if self._mentions * weight > LONGEST_PROMPT:
            problem = (
                f"what block {block!r} is given makes a prompt of more than {LONGEST_PROMPT:,} characters"
            )
            raise TaskFolderError(self._file, None, f"{problem}; shorten the request, or show fewer passages")
        try:
            text = "".join(self._compiled.blocks[block](self._compiled.new_context(given)))
        except (JinjaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TaskFolderError(self._file, None, f"block {block!r} cannot be rendered: {error}") from None
        return text.removesuffix("\n")

    def _compile(self, source: str) -> tuple[Compiled, set[str], int]:
        environment = _environment()
        blocks = BLOCKS[self.name]
        try:
            tree = environment.parse(source)
            require_plain(tree, blocks, set(blocks) - _OPTIONAL)
            code = environment.compile(tree)
        except NotAllowed as error:
            raise TaskFolderError(self._file, error.line, str(error)) from None
        except JinjaError as error:
            line = getattr(error, "lineno", None)
            raise TaskFolderError(self._file, line, f"is no valid template: {error.message}") from None
        except (RecursionError, SyntaxError, MemoryError):
            raise TaskFolderError(self._file, None, "is nested too deeply; write it flat") from None
        found = {block.name for block in tree.find_all(nodes.Block)}
        mentions = 1 + sum(1 for _ in tree.find_all(nodes.Name))
        return environment.template_class.from_code(environment, code, {}), found, mentions


@lru_cache(maxsize=256)
def compiled(name: str, source: str) -> Template:
    """The template of this source; compiled once a process."""
    return Template(name, source)


def _size(value: Any) -> int:
    """Characters that rendering `value` once can make."""
    if isinstance(value, list):
        return sum(len(text) for item in value for text in item.values())
    return len(value) if isinstance(value, str) else 0


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """The sandbox stands behind `require_plain`, in case that overlooks something."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment
