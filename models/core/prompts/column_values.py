"""Values of columns in expressions: fields of results, null, comparisons, and filters.

A value that is null has no fields but null ones, is shown as nothing, and no comparison with it is true.
Filters make no text that is longer than a prompt may be.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2.runtime import Context

from models.core.prompts.templates import LONGEST_PROMPT

# A product of whole numbers is no larger.
MAX_BITS = 4096
MAX_INDENT = 8
_ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt, "lteq": operator.le, "gt": operator.gt, "gteq": operator.ge,
}  # fmt: skip
_SIGNS = {"lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip


class ExpressionError(ValueError):
    """A prompt or condition cannot be read or evaluated; the message says why."""


class WithFields:
    """A value of a step with further `fields` of its result: `{{ rationale }}` and `{{ rationale.text }}`."""

    fields: Mapping[str, Any] = MappingProxyType({})


class TextWithFields(str, WithFields):
    pass


class ObjectWithFields(dict[str, Any], WithFields):
    pass


class ListWithFields(list[Any], WithFields):
    pass


class IntegerWithFields(int, WithFields):
    pass


class FloatWithFields(float, WithFields):
    pass


class Null(WithFields, jinja2.ChainableUndefined):
    """Null, and in conditions what is missing."""

    def __eq__(self, other: object) -> bool:
        return is_null(other)

    def __hash__(self) -> int:
        return hash(None)


_CLASSES: Mapping[type, Callable[[Any], WithFields]] = {
    str: TextWithFields,
    dict: ObjectWithFields,
    list: ListWithFields,
    int: IntegerWithFields,
    float: FloatWithFields,
    type(None): lambda _: Null(),
}


def column_value(result: Mapping[str, Any] | None) -> Any:
    """Return what expressions see of a step's result: its `value` and, by name, the other fields. A truth
    value has none."""
    value = (result or {}).get("value")
    fields = {name: field for name, field in (result or {}).items() if name != "value"}
    if not fields or type(value) not in _CLASSES:
        return value
    seen = _CLASSES[type(value)](value)
    seen.fields = fields
    return seen


def is_null(value: object) -> bool:
    return value is None or isinstance(value, Null)


def shown(value: Any) -> Any:
    """Return a value as prompts show it: lists and objects as JSON, null as nothing."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | dict | list) else value


def compare(left: Any, name: str, right: Any) -> bool:
    """Compare by the operator `name`. A text that is a number is compared with a number as one, and a blank
    text as null. Raise ExpressionError for a text and a number, and other values without an order."""
    first, second = _as_number(left, right), _as_number(right, left)
    if name in ("eq", "ne"):
        return bool(first == second) is (name == "eq")
    if is_null(first) or is_null(second):
        return False
    try:
        return bool(_ORDER[name](first, second))
    except TypeError:
        kinds = f"{kind_of(first)} with {kind_of(second)}"
        raise ExpressionError(
            f"compares {kinds}: {_excerpt(first)} {_SIGNS[name]} {_excerpt(second)}"
        ) from None


def _as_number(value: Any, other: Any) -> Any:
    """Return the number that a text is, if it stands beside a number."""
    if not isinstance(value, str) or isinstance(other, bool) or not isinstance(other, int | float):
        return value
    if not value.strip():
        return None
    try:
        return float(value)
    except ValueError:
        return value


def kind_of(value: Any) -> str:
    """Return a word for what a value is."""
    kinds = {bool: "a truth value", str: "a text", int: "a number", float: "a number", list: "a list"}
    return next((kind for of, kind in kinds.items() if isinstance(value, of)), "an object")


def _excerpt(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def calculate(sign: str, left: Any, right: Any) -> Any:
    """Return the result of an operator; null if one side is null. Raise ExpressionError if it is large."""
    if isinstance(left, Null) or isinstance(right, Null):
        return Null()
    if isinstance(left, str | list) or isinstance(right, str | list):
        if sign != "+" or isinstance(left, str) != isinstance(right, str):
            raise ExpressionError(f"{sign} takes numbers, found {kind_of(left)} and {kind_of(right)}")
        _require_short(len(left) + len(right))
    result = _ARITHMETIC[sign](left, right)
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise ExpressionError("makes a number that is too large")
    return result


def _require_short(length: int) -> None:
    if length > LONGEST_PROMPT:
        raise ExpressionError(f"makes a text of more than {LONGEST_PROMPT:,} characters")


def _text(value: Any) -> str:
    return str(shown(value))


# A filter that takes the context is not called before a prompt is rendered.
@jinja2.pass_context
def join(context: Context, values: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    getitem = context.environment.getitem
    each = values if attribute is None else [getitem(value, attribute) for value in values]
    texts = [_text(value) for value in each]
    between = _text(between)
    _require_short(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


@jinja2.pass_context
def replace(_: Context, value: Any, old: str, new: str) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    _require_short(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


@jinja2.pass_context
def to_json(_: Context, value: Any, indent: int | None = None) -> str:
    text = json.dumps(
        None if is_null(value) else value,
        ensure_ascii=False,
        indent=None if indent is None else min(indent, MAX_INDENT),
    )
    _require_short(len(text))
    return text


def rounded(value: Any, digits: int = 0) -> Any:
    if is_null(value):
        return value
    number = float(value)
    return round(number, digits) if digits else round(number)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "join": join, "replace": replace, "round": rounded, "tojson": to_json,
}  # fmt: skip
