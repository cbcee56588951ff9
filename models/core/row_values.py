"""The values of a row: found by name, also within nested values, and written as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def look_up(columns: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column, or one within it, such as `meta.level` or `messages.0.content`.

    Raise KeyError if there is none.
    """
    if name in columns:
        return columns[name]
    value: Any = columns
    for part in name.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(name)
    return value


def text_of(value: Any) -> str | None:
    """Return a text, number or truth value as text, and null as an empty one; None for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def joined_text(columns: Mapping[str, Any]) -> str:
    """Return all values of a row as one text."""
    texts = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
             for value in columns.values())  # fmt: skip
    return " ".join(texts)


def canonical_text(columns: Mapping[str, Any]) -> str:
    """Return one text for equal columns, in whatever order they are."""
    return json.dumps(columns, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
