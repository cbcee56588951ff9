"""Programs that a model wrote: what is run, within which limits, and what came of it.

Python's own parser on text that a model wrote.

How an answer becomes a program that tests can call, by its syntax tree.

Tests call a function; an answer is whatever a model wrote: an expression, statements that leave their result
in a variable, a print, a function of its own. The task's open function (`prefix`, `suffix`) says under which
names the answer finds its input, and whether its value counts or what it does to a variable.
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

# `passed`: every test was met, and the proof of it arrived. `failed`: an assertion did not hold. `error`:
# any other exception, an exit before the last test, or a death. `syntax`: Python does not compile it.
# `unavailable`: not the answer but its tests, or a package that it uses, import what is not installed.
ExecutionOutcome = Literal[
    "passed", "failed", "error", "timeout", "memory", "output_limit", "syntax", "unavailable"
]  # fmt: skip


class ProgramLimits(StrictModel):
    """What one program may use. Processor time decides, so that a busy machine changes no verdict; wall
    time is for programs that wait. `memory_mb` bounds each process and all of them together, `disk_mb`
    each of two temporary folders in memory, `output_kb` standard output and error together."""

    cpu_seconds: Annotated[Whole, Field(ge=1, le=600)] = 10
    wall_seconds: Annotated[Whole, Field(ge=1, le=3600)] = 30
    memory_mb: Annotated[Whole, Field(ge=64)] = 1024
    disk_mb: Annotated[Whole, Field(ge=1)] = 32
    processes: Annotated[Whole, Field(ge=2, le=1024)] = 32
    output_kb: Annotated[Whole, Field(ge=1, le=65536)] = 64


@dataclass(frozen=True, slots=True)
class Program:
    """A module in two parts, the task's own `setup` and the `answer`, and then `tests` in the same
    namespace. Where an `entry_point` is named, the tests define `check`, which is called with what the
    answer defined under that name."""

    answer: str
    tests: str = ""
    entry_point: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionVerdict:
    """`seconds` is wall time with the start of the wall; `cpu_seconds` that of the program alone, 0 where
    it was killed from outside. `stdout` and `stderr` are cut at the limit of output."""

    outcome: ExecutionOutcome
    detail: str = ""
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


# `catch_warnings` swaps a list of the whole process: two threads in it at once may leave it swapped.
_filters = threading.Lock()
# Nesting too deep for the parser shows as any of the last three.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)


def parse_python(code: str) -> ast.Module | None:
    """The syntax tree of `code`, or None where Python cannot parse it. Raises and warns nothing."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except _NOT_PYTHON:
            return None


def tree_text(code: str) -> str | None:
    """The syntax tree of `code` written out, the same for codes that differ in form only; None where there
    is none. Raises nothing."""
    tree = parse_python(code)
    if tree is None or not tree.body:
        return None
    try:
        return ast.dump(tree)
    except RecursionError:
        return None


def normal_form(code: str) -> str:
    """A text that is the same for codes which mean the same: their tree, or else their words."""
    return tree_text(code) or " ".join(code.split())


# Methods that change a container and give something back all the same.
_TAKE_OUT = {"pop", "popitem", "setdefault"}
_VALUE = "_value"


def build_program(answer: str, tests: AnswerTests) -> Program:
    """The program of an answer; what is no Python is put in its place as it is. Raises nothing."""
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
class _Open:
    """A function whose body is to be filled in: what stands `before` it and at its start (`preface`), and
    how it `ends`. `wants_value` where the answer's value is what it returns."""

    before: list[ast.stmt]
    function: ast.FunctionDef
    preface: list[ast.stmt]
    ends: list[ast.stmt]
    wants_value: bool

    @property
    def parameters(self) -> list[str]:
        given = self.function.args
        return [each.arg for each in (*given.posonlyargs, *given.args)]

    @property
    def result(self) -> str | None:
        """The variable that it returns, "" where it returns nothing, None where it ends in another way."""
        match self.ends:
            case [] | [ast.Return(value=None)]:
                return ""
            case [ast.Return(value=ast.Name(id=name))]:
                return name
        return None


def _open_function(tests: AnswerTests) -> _Open | None:
    prefix = tests.prefix.rstrip(" ")
    wants_value = prefix.endswith("return") or not tests.suffix.strip()
    for filled in (f"{prefix} 0", f"{prefix}pass", f"{prefix}    pass", f"{prefix}\n    pass"):
        tree, suffix = parse_python(filled), _parse(tests.suffix)
        if tree and suffix and tree.body and isinstance(function := tree.body[-1], ast.FunctionDef):
            return _Open(tree.body[:-1], function, function.body[:-1], suffix.body, wants_value)
    return None


def _parse(answer: str) -> ast.Module | None:
    """Of the answer, whose lines after the first may be indented as those around it."""
    first, _, rest = answer.partition("\n")
    return parse_python(textwrap.dedent(answer)) or parse_python(f"{first.strip()}\n{textwrap.dedent(rest)}")


def _body(statements: list[ast.stmt], open_: _Open) -> list[ast.stmt]:
    if statements and open_.wants_value:
        return [*statements[:-1], *_valued(statements[-1], open_)]
    name = open_.result
    if not statements or not name or name in _bound(statements):
        return [*statements, *open_.ends]
    valued = _value_instead(statements[-1], name, open_)
    return [*statements[:-1], *valued] if valued else [*statements, *open_.ends]


def _value_instead(last: ast.stmt, name: str, open_: _Open) -> list[ast.stmt] | None:
    """The last statement, where its own value may be what the task would find in the variable."""
    match last:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=of), attr=method))) if (
            of == name and method in _TAKE_OUT
        ):
            return None
        case ast.Expr() if name in open_.parameters:
            # `l.sort()` gives nothing, and changes what is asked for; `sorted(l)` gives what is asked for.
            *before, given = _valued(last, open_)
            assert isinstance(given, ast.Return)
            assert given.value
            kept = ast.parse(f"return {name} if {_VALUE} is None else {_VALUE}").body
            return [*before, _assign(given.value), *kept]
        case ast.Expr() | ast.FunctionDef():
            return _valued(last, open_)
        case ast.Assign(targets=[target]) if name not in _names(target):
            return _valued(last, open_)
    return None


def _valued(last: ast.stmt, open_: _Open) -> list[ast.stmt]:
    """The last statement, and then a return of what it came to."""
    match last:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[shown], keywords=[])) if not isinstance(
            shown, ast.Starred
        ):
            return [_assign(shown), *ast.parse(f"print({_VALUE})").body, _return(ast.Name(_VALUE))]
        case ast.Expr(value=value):
            return [_return(value)]
        case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return [last, _return(target)]
        case ast.FunctionDef(name=name, args=args):
            taken = len(args.posonlyargs) + len(args.args)
            given: list[ast.expr] = [ast.Name(parameter) for parameter in open_.parameters[:taken]]
            return [last, _return(ast.Call(ast.Name(name), given, []))]
        case ast.With(body=[*inner, final]):
            last.body = [*inner, *_valued(final, open_)]
        case ast.For() | ast.While() | ast.If() | ast.Try():
            return [last, *(_return(ast.Name(name)) for name in list(_bound([last]))[-1:])]
    return [last]


def _bound(statements: list[ast.stmt]) -> dict[str, None]:
    """The variables that the statements assign, in order."""
    found = (node for statement in statements for node in _in_order(statement))
    return {node.id: None for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _names(target: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what it holds, less functions and comprehensions, which have variables of their own."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.comprehension):
            yield from _in_order(child)


def _defines(tree: ast.Module, name: str) -> bool:
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in tree.body)


def _assign(value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(_VALUE)], value)


def _return(value: ast.expr) -> ast.stmt:
    return ast.Return(value)


def _text(statements: list[ast.stmt]) -> str:
    """The statements as source; places in it are not those of the answer."""
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, []))) + "\n"
