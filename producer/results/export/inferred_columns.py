"""The types of columns, inferred from the values of all rows."""

from __future__ import annotations

from typing import Any

from models.core.types import JSON
from producer.results.export.columns import Shape

# An object with more names than this is a mapping, not a record: each name would be a column.
MAX_NAMES = 100
MAX_INTEGER = 2**63
MIXED = object


class InferredColumns:
    """The columns of rows, those of `known` first. A column that not every row has comes before the column
    `before`. The type of one with values of several types, or of none that files know, is `object`."""

    def __init__(self, known: Shape, before: str | None = None) -> None:
        self._known = known
        self._before = before
        self._names: list[str] = []
        self._types: dict[str, Any] = {}

    def add(self, row: JSON) -> None:
        new = [name for name in row if name not in self._types and name not in self._known]
        at = len(self._names)
        if self._before in self._types:
            at = self._names.index(self._before)
        self._names[at:at] = new
        for name in self._names:
            self._types[name] = _merge(self._types.get(name), _type(row.get(name)))

    def shape(self) -> Shape:
        return {**self._known, **{name: _final(self._types[name]) for name in self._names}}


def _type(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        merged = None
        for each in value:
            merged = _merge(merged, _type(each))
        return MIXED if merged is MIXED else [merged]
    if isinstance(value, dict):
        types = {name: _type(each) for name, each in value.items()}
        return MIXED if MIXED in types.values() or len(types) > MAX_NAMES else types
    if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        return MIXED
    return type(value) if isinstance(value, str | int | float) else MIXED


def _merge(first: Any, second: Any) -> Any:
    """Return the type of values of both types; None is that of nulls alone."""
    if second is None or first == second:
        return first
    if first is None:
        return second
    if first in (int, float) and second in (int, float):
        return float
    if isinstance(first, list) and isinstance(second, list):
        merged = _merge(first[0], second[0])
        return MIXED if merged is MIXED else [merged]
    if isinstance(first, dict) and isinstance(second, dict):
        types = {name: _merge(first.get(name), second.get(name)) for name in {**first, **second}}
        return MIXED if MIXED in types.values() or len(types) > MAX_NAMES else types
    return MIXED


def _final(type_: Any) -> Any:
    """Return the type of a column. Nulls alone are texts; an object without names is no type of a file."""
    if type_ is None:
        return str
    if isinstance(type_, list):
        part = _final(type_[0])
        return MIXED if part is MIXED else [part]
    if isinstance(type_, dict):
        parts = {name: _final(part) for name, part in type_.items()}
        return MIXED if not parts or MIXED in parts.values() else parts
    return type_
