"""Rows that are equal to test rows once literals and names of variables are masked: copies that another
string, number or name hides from exact and near comparison."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable
from typing import Literal

from models.core.programs import normal_form, parse_python
from models.core.words import words

MaskedKind = Literal["row", "request", "answer"]
# Less that is no mask says nothing: `x[0]`, "sort _".
MIN_WORDS = 3
MIN_NAMES = 2
_BUILTINS = frozenset(dir(builtins))
_LITERAL = re.compile(
    r"\{\{[^{}]*\}\}|`[^`]*`|'[^'\n]*'|\"[^\"\n]*\"|“[^”]*”|‘[^’]*’|(?<![A-Za-z_])\d+(?:[.,]\d+)*"
)
_MASK = "\N{LOW LINE}"


def masked_text(text: str) -> str:
    """Return words in lower case with `_` for quoted parts, placeholders and numbers; "" if few are left."""
    tokens = words(_LITERAL.sub(f" {_MASK} ", text))
    return " ".join(tokens) if sum(token != _MASK for token in tokens) >= MIN_WORDS else ""


def masked_code(code: str) -> str:
    """Return the syntax tree of Python code without its strings and numbers, variables numbered as they come;
    `masked_text` of other code; "" if it names fewer than two functions, attributes or keywords."""
    tree = parse_python(code)
    if tree is None:
        return masked_text(code)
    try:
        masker = _Masker()
        form = ast.dump(masker.visit(tree))
    except RecursionError:
        return ""
    return form if masker.names >= MIN_NAMES else ""


class MaskedTestSplit:
    """The test split in masked forms. Memory grows with the test split only."""

    def __init__(self, form_of: Callable[[str], str] = normal_form) -> None:
        """Set up the split. Answers are equal if `form_of` them is; code is masked by its tree."""
        self._form_of = form_of
        self._masked_answer = masked_code if form_of is normal_form else masked_text
        self._rows: dict[tuple[MaskedKind, int], int] = {}
        self._whole: set[tuple[MaskedKind, int]] = set()

    def add(self, row: int, request: str, answer: str) -> None:
        for key in self._masked(request, answer).items():
            self._rows.setdefault(key, row)
        self._whole.update(self._unmasked(request, answer).items())

    def overlap(self, request: str, answer: str) -> tuple[MaskedKind, int] | None:
        """Return what a row has of which test row but for literals and names: all, its request or its answer;
        None if it has nothing, or only the same to the letter."""
        unmasked = self._unmasked(request, answer)
        for kind, key in self._masked(request, answer).items():
            other = self._rows.get((kind, key))
            if other is not None and (kind, unmasked[kind]) not in self._whole:
                return kind, other
        return None

    def _masked(self, request: str, answer: str) -> dict[MaskedKind, int]:
        forms = masked_text(request), self._masked_answer(answer)
        keys: dict[MaskedKind, int] = {"row": hash(forms)} if all(forms) else {}
        kinds: tuple[MaskedKind, MaskedKind] = ("request", "answer")
        return keys | {kind: hash(form) for kind, form in zip(kinds, forms, strict=True) if form}

    def _unmasked(self, request: str, answer: str) -> dict[MaskedKind, int]:
        tokens, form = words(request), self._form_of(answer)
        return {"row": hash((tokens, form)), "request": hash(tokens), "answer": hash(form)}


class _Masker(ast.NodeTransformer):
    """Masks literals and variables, and counts the `names` that are left."""

    def __init__(self) -> None:
        self.names = 0
        self._variables: dict[str, str] = {}

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        kept = node.value is None or isinstance(node.value, bool)
        return node if kept else ast.Constant(type(node.value).__name__)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant(str.__name__)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        operand = self.visit(node.operand)
        return operand if isinstance(operand, ast.Constant) else ast.UnaryOp(node.op, operand)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in _BUILTINS:
            self.names += 1
            return node
        return ast.Name(self._variable(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._variable(node.arg))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.names += 1
        return ast.Attribute(self.visit(node.value), node.attr, node.ctx)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.names += 1
        return ast.keyword(node.arg, self.visit(node.value))

    def visit_alias(self, node: ast.alias) -> ast.AST:
        self.names += 1
        return ast.alias(node.name, node.asname and self._variable(node.asname))

    def _variable(self, name: str) -> str:
        return self._variables.setdefault(name, f"v{len(self._variables)}")
