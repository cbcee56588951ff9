"""Prompts and conditions over the columns of a row, in Jinja2's sandbox.

    Explain in one sentence: {{ question }}          a prompt
    {% for passage in docs %}{{ passage.text }}{% endfor %}
    {{ row["my column"] }}                           a column whose name is no word
    critique.score < 4 and not verdict.correct       a condition

Only columns can be read, never attributes of Python's objects; nothing can be called, set or included, and
loops cannot be nested. So a prompt ends, and its columns bound it. Lists and objects are shown as JSON, null
as an empty text; a column that is missing is an error in a prompt, and null in a condition. Null is false,
has no parts but null ones, and no comparison with it is true. A text that is a number, as in a CSV file, is
compared with a number as one; any other text fails the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, reduce
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.visitor import NodeTransformer

from models.core.prompts.column_sandbox import OWN_FILTERS, TESTS, condition_environment, prompt_environment
from models.core.prompts.column_values import ExpressionError, Null
from models.core.prompts.templates import LONGEST_PROMPT, LONGEST_SOURCE, REFUSED

# The name by which all columns can be read, also those whose own names are no words.
ROW = "row"
# Names that mean something else in expressions.
WORDS = frozenset({
    ROW, "and", "else", "false", "False", "if", "in", "is", "loop", "none", "None", "not", "or", "self",
    "true", "True",
})  # fmt: skip
_REFUSED = {node: remedy for node, remedy in REFUSED.items() if node not in (nodes.Mul, nodes.Mod)} | {
    nodes.Pow: "there is no **; write the product",
    nodes.Block: "blocks are not known here; write the text itself",
}
_FAILURES = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class PromptText:
    """A prompt over columns. Raises ExpressionError if it is no template."""

    def __init__(self, source: str) -> None:
        with _readable():
            tree = _parse(prompt_environment(), source)
            self.columns = _columns(tree)
            self.parts = _parts(tree)
            self._compiled = _compile(prompt_environment(), tree)

    def render(self, columns: Mapping[str, Any]) -> str:
        """Return the text. Raise ExpressionError if a column is missing or a value does not fit."""
        parts: list[str] = []
        room = LONGEST_PROMPT
        for part in _rendered(self._compiled, columns):
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise ExpressionError(f"makes a prompt of more than {LONGEST_PROMPT:,} characters")
        return "".join(parts)


class Condition:
    """A condition over columns, such as `critique.score < 4`. Raises ExpressionError if it is none.

    A value that is missing or null is false, and so is each comparison with it.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        if "{{" in source:
            raise ExpressionError("is written without {{ }}")
        with _readable():
            tree = _parse(condition_environment(), "{{ " + source + " }}")
            single = _single(tree)
            # Columns of which only the truth counts, as in `a and not b`.
            self.truths = frozenset(_truths(single))
            self.columns = _columns(tree)
            self.parts = _parts(tree)
            choice = nodes.CondExpr(single, nodes.Const("true"), nodes.Const(""))
            tree.body = [nodes.Output([choice], lineno=1)]
            self._compiled = _compile(condition_environment(), tree)

    def holds(self, columns: Mapping[str, Any]) -> bool:
        """Tell if the condition is true. Raise ExpressionError if values cannot be compared."""
        try:
            return any(_rendered(self._compiled, columns))
        except ExpressionError as error:
            raise ExpressionError(f"{self._source!r} {error}") from None


@contextmanager
def _readable() -> Iterator[None]:
    """Raise ExpressionError for whatever keeps a text from being an expression."""
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno > 1 else ""
        raise ExpressionError(f"{where}{_plain(error.message or '')}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ExpressionError("is nested too deeply; write it flat") from None


def _parse(environment: jinja2.Environment, source: str) -> nodes.Template:
    if len(source) > LONGEST_SOURCE:
        raise ExpressionError(f"is longer than {LONGEST_SOURCE:,} characters; shorten it")
    try:
        tree = environment.parse(source)
    except ValueError:
        raise ExpressionError("holds a number that is too long") from None
    for node in tree.find_all(nodes.Node):
        if problem := _problem(node):
            raise ExpressionError(f"line {node.lineno}: {problem}")
    return tree


def _single(tree: nodes.Template) -> nodes.Expr:
    """Return the one condition that the text is."""
    match tree.body:
        case [nodes.Output(nodes=[nodes.Expr() as single])]:
            if not isinstance(single, nodes.Tuple | nodes.TemplateData):
                return single
    raise ExpressionError("is no single condition; join parts with and, or")


def _problem(node: nodes.Node) -> str:
    """Return why a part of an expression cannot be used, or an empty text."""
    match node:
        case nodes.Filter(name=name) if name not in OWN_FILTERS:
            return f"there is no filter {name}; known are {', '.join(sorted(OWN_FILTERS))}"
        case nodes.Test(name=name) if name not in TESTS:
            return f"there is no test {name}; known are {', '.join(sorted(TESTS))}"
        case nodes.For() if node.find(nodes.For):
            return "a loop cannot stand within a loop"
        case nodes.Name(name="self"):
            return f'self is no column; read one of this name as {ROW}["self"]'
    return _REFUSED.get(type(node), "")


def _compile(environment: jinja2.Environment, tree: nodes.Template) -> jinja2.Template:
    tree = _Safe().visit(tree)
    tree.set_environment(environment)
    return environment.template_class.from_code(environment, environment.compile(tree), {})


def _rendered(template: jinja2.Template, columns: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of the text. Raise ExpressionError."""
    values = {name: Null() if value is None else value for name, value in columns.items()}
    try:
        yield from template.root_render_func(template.new_context(values))
    except ExpressionError:
        raise
    except _FAILURES as error:
        raise ExpressionError(_reason(error)) from None


def _columns(tree: nodes.Template) -> frozenset[str]:
    """Return the names of the columns that are read; ROW among them if it is read as a whole."""
    names = meta.find_undeclared_variables(tree)
    read = [name for node in tree.find_all(nodes.Expr) if (name := _item_of_row(node))]
    is_whole = sum(node.name == ROW for node in tree.find_all(nodes.Name)) > len(read)
    return frozenset(names - ({ROW} if not is_whole else set()) | set(read))


def _item_of_row(node: nodes.Expr) -> str:
    """Return the name of the column that `row.NAME` or `row["NAME"]` reads, or an empty text."""
    match node:
        case nodes.Getattr(node=nodes.Name(name="row")) | nodes.Getitem(node=nodes.Name(name="row")):
            return _item(node)
    return ""


def _item(node: nodes.Expr) -> str:
    """Return NAME of `value.NAME` or `value["NAME"]`, or an empty text."""
    match node:
        case nodes.Getattr(attr=str(name)) | nodes.Getitem(arg=nodes.Const(value=str(name))):
            return name
    return ""


def _parts(tree: nodes.Template) -> frozenset[tuple[str, str]]:
    """Return the parts of columns that are read, such as `score` of `critique`, each with its column."""
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"} | {ROW}
    read = ((_column(node, own), _item(node)) for node in tree.find_all(nodes.Expr))
    return frozenset((name, part) for name, part in read if name and part)


def _column(node: nodes.Expr, own: set[str]) -> str:
    """Return the name of the column of which the expression is a part, or an empty text."""
    match node:
        case nodes.Getattr(node=nodes.Name(name=name)) | nodes.Getitem(node=nodes.Name(name=name)):
            return "" if name in own else str(name)
        case nodes.Getattr(node=value) | nodes.Getitem(node=value):
            return _item_of_row(value)
    return ""


def _truths(node: nodes.Expr) -> Iterator[str]:
    match node:
        case nodes.Name(name=name):
            yield name
        case nodes.Not(node=inner):
            yield from _truths(inner)
        case nodes.And(left=left, right=right) | nodes.Or(left=left, right=right):
            yield from (*_truths(left), *_truths(right))


def _plain(message: str) -> str:
    """Return Jinja's message without its words for Starmill's own brackets."""
    message = message.replace("expected token 'end of print statement', got", "nothing is expected before")
    message = message.replace("unexpected 'end of print statement'", "it ends too early")
    message = message.replace("unexpected end of template, expected", "the text ends before").rstrip(".")
    message = message.replace("'end of print statement'", "}}")
    return message + "; write == to compare" * message.endswith("before '='")


def _reason(error: Exception) -> str:
    return " ".join(str(error)[:400].split()) or type(error).__name__


class _Safe(NodeTransformer):
    """Replaces comparisons and joined texts by filters that know null and bounds."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:  # noqa: N802 (Jinja's name)
        self.generic_visit(node)
        parts: list[nodes.Expr] = []
        left = node.expr
        for operand in node.ops:
            parts.append(_comparison(left, operand, node.lineno))
            left = operand.expr
        return reduce(lambda first, second: nodes.And(first, second, lineno=node.lineno), parts)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 (Jinja's name)
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "join", [], node.lineno)


def _comparison(left: nodes.Expr, operand: nodes.Operand, line: int) -> nodes.Expr:
    if operand.op in ("in", "notin"):
        return nodes.Compare(left, [operand], lineno=line)
    return _filter(left, "compare", [nodes.Const(operand.op, lineno=line), operand.expr], line)


def _filter(value: nodes.Expr, name: str, arguments: list[nodes.Expr], line: int) -> nodes.Filter:
    return nodes.Filter(value, name, arguments, [], None, None, lineno=line)


@lru_cache(maxsize=512)
def prompt_text(source: str) -> PromptText:
    """Return the prompt, compiled once per process. Raise ExpressionError."""
    return PromptText(source)


@lru_cache(maxsize=512)
def condition(source: str) -> Condition:
    """Return the condition, compiled once per process. Raise ExpressionError."""
    return Condition(source)
