"""Python's own parser on text that a model wrote."""

from __future__ import annotations

import ast
import threading
import warnings

# `catch_warnings` swaps a list of the whole process: two threads in it at once may leave it swapped.
_filters = threading.Lock()

# Nesting too deep for the parser shows as any of the last three.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)


def parse(code: str) -> ast.Module | None:
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
    tree = parse(code)
    if tree is None or not tree.body:
        return None
    try:
        return ast.dump(tree)
    except RecursionError:
        return None


def normal_form(code: str) -> str:
    """A text that is the same for codes which mean the same: their tree, or else their words."""
    return tree_text(code) or " ".join(code.split())
