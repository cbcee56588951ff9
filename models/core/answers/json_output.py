"""JSON in the answers of models, and whether it fits a JSON Schema (draft 2020-12)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.core.answers.checks import reject
from models.core.answers.cleaning import clean_line, clean_text
from models.core.types import JSON, Rejection

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
LONGEST = 1_000_000  # characters
# Places in a text where its object may begin.
MAX_STARTS = 20
TYPES = "array, boolean, integer, null, number, object, string"


def require_schema(schema: JSON) -> None:
    """Raise ValueError with path and reason if `schema` is no JSON Schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = [str(part) for part in error.absolute_path]
        problem = f"{error.instance!r} is none of {TYPES}" if path[-1:] == ["type"] else error.message
        raise ValueError(f"is no JSON Schema: at {'.'.join(path) or 'the top'}: {problem}") from None
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"refers to {reference}, which is no part of it, such as #/$defs/name") from None


def _references(schema: Any) -> Iterator[str]:
    """Yield what the parts of a schema refer to."""
    if isinstance(schema, dict):
        yield from (schema[key] for key in ("$ref", "$dynamicRef") if isinstance(schema.get(key), str))
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        yield from _references(part)


def parse_json(text: str, schema: JSON | None) -> Any | Rejection:
    """Return the JSON value of an answer: all of it, its fenced block, or the object or list in its text.

    Reject it as `no_json`, or as `schema` if it does not fit.
    """
    held = _value(text.strip())
    if held is None:
        return reject("no_json", text)
    if schema is not None and (problem := _misfit(held[0], schema)):
        return Rejection("schema", clean_line(problem, 200))
    return held[0]


def _value(text: str) -> tuple[Any] | None:
    """Return the value in a tuple, since null is one."""
    for candidate in _candidates(text[:LONGEST]):
        try:
            return (_storable(json.loads(candidate, parse_constant=_refuse, parse_float=_finite)),)
        except (ValueError, RecursionError):
            continue
    return None


def _candidates(text: str) -> list[str]:
    """Return what may be the value, the longest first of what stands within a text."""
    inside: list[str] = []
    for opening, closing in (("{", "}"), ("[", "]")):
        end = text.rfind(closing) + 1
        start = text.find(opening, 0, end)
        # What stands before the value may have such signs, too.
        for _ in range(MAX_STARTS):
            if start >= 0:
                inside.append(text[start:end])
                start = text.find(opening, start + 1, end)
    fenced = [block.strip() for block in _FENCE.findall(text)]
    return [text, *fenced, *sorted(inside, key=len, reverse=True)]


def _storable(value: Any) -> Any:
    """Return the value without what no database or server takes: null characters and lone surrogates, which
    JSON can spell."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): _storable(each) for name, each in value.items()}
    return value


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _misfit(value: Any, schema: JSON) -> str:
    """Return the first reason why the value does not fit, with its path; empty if it fits."""
    try:
        error = next(iter(_validator(json.dumps(schema, sort_keys=True)).iter_errors(value)), None)
    except RecursionError:
        return "is nested too deeply"
    if error is None:
        return ""
    where = ".".join(map(str, error.absolute_path))
    return f"{where}: {error.message}" if where else str(error.message)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
