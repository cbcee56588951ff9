"""Python code that models wrote: its syntax tree, and the program that tests can call.

Tests call a function, but an answer may be an expression, statements that leave their result in a variable, a
print, or a function of its own. The task's open function (`prefix`, `suffix`) tells the names of the answer's
input, and if its value counts or its change of a variable.
"""

from __future__ import annotations

import ast
import textwrap
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models.core.experiment.endpoints import StrictModel, Whole
from models.core.types import AnswerTests

# `passed`: all tests were met and the proof arrived. `failed`: an assertion did not hold. `error`: any other
# exception, an exit before the last test, or a killed process. `syntax`: Python does not compile it.
# `unavailable`: the tests, or a package that the answer uses, import something that is not installed.
ExecutionOutcome = Literal[
    "passed", "failed", "error", "timeout", "memory", "output_limit", "syntax", "unavailable"
]  # fmt: skip


class ProgramLimits(StrictModel):
    """The limits of one program. Processor time decides, so that a busy machine changes no verdict; wall time
    ends programs that wait."""

    cpu_seconds: Annotated[Whole, Field(ge=1, le=600)] = 10
    """seconds of processor time"""
    wall_seconds: Annotated[Whole, Field(ge=1, le=3600)] = 30
    """seconds on the clock"""
    memory_mb: Annotated[Whole, Field(ge=64)] = 1024
    """memory of each process, and of all together"""
    disk_mb: Annotated[Whole, Field(ge=1)] = 32
    """each of two temporary folders in memory"""
    processes: Annotated[Whole, Field(ge=2, le=1024)] = 32
    """processes at once"""
    output_kb: Annotated[Whole, Field(ge=1, le=65536)] = 64
    """standard output and error together"""


@dataclass(frozen=True, slots=True)
class Program:
    """A module of the task's `setup` and the `answer`, followed by `tests` in the same namespace.

    With an `entry_point`, the tests define `check`, which is called with the answer's object of that name.
    """

    answer: str
    tests: str = ""
    entry_point: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionVerdict:
    """The result of a program.

    `seconds` is wall time with the start of the sandbox; `cpu_seconds` is processor time of the program
    alone, 0 if it was killed from outside. `stdout` and `stderr` are cut at the limit of output.
    """

    outcome: ExecutionOutcome
    detail: str = ""
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


# `catch_warnings` swaps a list of the whole process. Two threads in it at once may leave it swapped.
_warning_filters = threading.Lock()
# The last three mean that code is nested too deeply.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)


def parse_python(code: str) -> ast.Module | None:
    """Return the syntax tree of `code`, or None if Python cannot parse it. Raise and warn nothing."""
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except _NOT_PYTHON:
            return None


def tree_text(code: str) -> str | None:
    """Return the syntax tree of `code` as text, equal for codes that differ in form only; None if there is no
    tree. Raise nothing."""
    tree = parse_python(code)
    if tree is None or not tree.body:
        return None
    try:
        return ast.dump(tree)
    except RecursionError:
        return None


def normal_form(code: str) -> str:
    """Return a text that is equal for codes that mean the same: the syntax tree, or else the words."""
    return tree_text(code) or " ".join(code.split())


# Methods that change a container and return something as well.
_CHANGE_AND_RETURN = {"pop", "popitem", "setdefault"}
_VALUE = "_value"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)


def build_program(answer: str, tests: AnswerTests) -> Program:
    """Return the program of an answer. An answer that is no Python is put in its place as text. Raise
    nothing."""
    raw = Program(tests.prefix + answer + tests.suffix + "\n", tests.code, tests.entry_point)
    open_, tree = _open_function(tests), _parse(answer)
    if tree is None or (tests.prefix and open_ is None):
        return raw
    if open_ is None or _defines(tree, tests.entry_point):
        setup = _text(open_.before) if open_ else ""
        return Program(_text(tree.body), tests.code, tests.entry_point, setup)
    try:
        body = [*open_.preface, *_body(tree.body, open_)]
        open_.function.body = body or [ast.Pass()]
        return Program(_text([open_.function]), tests.code, tests.entry_point, _text(open_.before))
    except RecursionError:
        return raw


@dataclass(frozen=True, slots=True)
class _OpenFunction:
    """A function without a body: statements `before` it, at its start (`preface`) and at its end (`ends`).

    It `wants_value` if it returns the answer's value.
    """

    before: list[ast.stmt]
    function: ast.FunctionDef
    preface: list[ast.stmt]
    ends: list[ast.stmt]
    wants_value: bool

    @property
    def parameters(self) -> list[str]:
        arguments = self.function.args
        return [each.arg for each in (*arguments.posonlyargs, *arguments.args)]

    @property
    def result(self) -> str | None:
        """The variable that it returns, "" if it returns nothing, None if it ends in another way."""
        match self.ends:
            case [] | [ast.Return(value=None)]:
                return ""
            case [ast.Return(value=ast.Name(id=name))]:
                return name
        return None


def _open_function(tests: AnswerTests) -> _OpenFunction | None:
    prefix = tests.prefix.rstrip(" ")
    wants_value = prefix.endswith("return") or not tests.suffix.strip()
    for filled in (f"{prefix} 0", f"{prefix}pass", f"{prefix}    pass", f"{prefix}\n    pass"):
        tree, suffix = parse_python(filled), _parse(tests.suffix)
        if tree and suffix and tree.body and isinstance(function := tree.body[-1], ast.FunctionDef):
            return _OpenFunction(tree.body[:-1], function, function.body[:-1], suffix.body, wants_value)
    return None


def _parse(answer: str) -> ast.Module | None:
    """Parse an answer, whose lines after the first may be indented like the code around it."""
    first, _, rest = answer.partition("\n")
    return parse_python(textwrap.dedent(answer)) or parse_python(f"{first.strip()}\n{textwrap.dedent(rest)}")


def _body(statements: list[ast.stmt], open_: _OpenFunction) -> list[ast.stmt]:
    if statements and open_.wants_value:
        return [*statements[:-1], *_valued(statements[-1], open_)]
    name = open_.result
    if not statements or not name or name in _bound(statements):
        return [*statements, *open_.ends]
    valued = _value_instead(statements[-1], name, open_)
    return [*statements[:-1], *valued] if valued else [*statements, *open_.ends]


def _value_instead(last: ast.stmt, name: str, open_: _OpenFunction) -> list[ast.stmt] | None:
    """Return the last statement with its value in place of the variable `name`, None if it has no value."""
    match last:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method))) if (
            owner == name and method in _CHANGE_AND_RETURN
        ):
            return None
        case ast.Expr() if name in open_.parameters:
            # `l.sort()` returns nothing and changes the result; `sorted(l)` returns the result.
            *before, final = _valued(last, open_)
            assert isinstance(final, ast.Return)
            assert final.value
            choice = ast.parse(f"return {name} if {_VALUE} is None else {_VALUE}").body
            return [*before, _assign(final.value), *choice]
        case ast.Expr() | ast.FunctionDef():
            return _valued(last, open_)
        case ast.Assign(targets=[target]) if name not in _names(target):
            return _valued(last, open_)
    return None


def _valued(last: ast.stmt, open_: _OpenFunction) -> list[ast.stmt]:
    """Return the last statement, followed by a return of its value."""
    match last:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[shown], keywords=[])) if not isinstance(
            shown, ast.Starred
        ):
            return [_assign(shown), *ast.parse(f"print({_VALUE})").body, ast.Return(ast.Name(_VALUE))]
        case ast.Expr(value=value):
            return [ast.Return(value)]
        case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return [last, ast.Return(target)]
        case ast.FunctionDef(name=name, args=args):
            count = len(args.posonlyargs) + len(args.args)
            arguments: list[ast.expr] = [ast.Name(parameter) for parameter in open_.parameters[:count]]
            return [last, ast.Return(ast.Call(ast.Name(name), arguments, []))]
        case ast.With(body=[*inner, final]):
            last.body = [*inner, *_valued(final, open_)]
        case ast.For() | ast.While() | ast.If() | ast.Try():
            return [last, *(ast.Return(ast.Name(name)) for name in _variables(last)[-1:])]
    return [last]


def _bound(statements: list[ast.stmt]) -> set[str]:
    """Return the names that the statements bind."""
    return {name for each in statements for node in _in_order(each) for name in _bound_by(node)}


def _variables(statement: ast.stmt) -> list[str]:
    """Return the variables that a statement assigns, in order."""
    names = (node for node in _in_order(statement) if isinstance(node, ast.Name))
    return list(dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Store)))


def _bound_by(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [each.asname or each.name.partition(".")[0] for each in names]
    return []


def _names(target: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and its descendants, but nothing in functions, classes and comprehensions, which have
    own variables."""
    yield node
    if isinstance(node, _SCOPES):
        return
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)


def _defines(tree: ast.Module, name: str) -> bool:
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in tree.body)


def _assign(value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(_VALUE)], value)


def _text(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, []))) + "\n"
