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
