"""Texts of JSONL rows, and what is wrong where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.errors import DatasetError


def text_field(path: Path, line: int, row: dict[str, Any], *names: str) -> str:
    """The text under the first of `names` that the row has. A null is an empty text: nothing was answered.

    Raises DatasetError.
    """
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DatasetError(path, line, f"has no {names[0]!r}; its keys are {', '.join(row) or 'none'}")
    value = row[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DatasetError(path, line, f"{name!r} must be a text, found {type(value).__name__}")
    return value


def key_field(path: Path, line: int, row: dict[str, Any]) -> str:
    """The row's `question_id`, a text or a whole number. Raises DatasetError."""
    value = row.get("question_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(path, line, "needs a 'question_id', a text or a whole number")
    return str(value)
