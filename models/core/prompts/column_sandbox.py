"""Jinja2's sandbox over columns: items of objects and lists can be read, and nothing of Python's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.core.prompts import column_values
from models.core.prompts.column_values import Null, calculate, compare, is_null, kind_of, shown
from models.core.prompts.templates import FILTERS, LOOP

OWN_FILTERS = (
    *FILTERS, *column_values.FILTERS, "abs", "default", "float", "int", "truncate", "wordcount",
)  # fmt: skip
TESTS = (
    "boolean", "defined", "divisibleby", "even", "false", "float", "in", "integer", "iterable", "lower",
    "mapping", "none", "number", "odd", "sequence", "string", "true", "undefined", "upper",
)  # fmt: skip


class Absent(jinja2.StrictUndefined):
    """A column, or a part of one, that a prompt names and that is not there."""

    @property
    def _undefined_message(self) -> str:
        holder, name = self._undefined_obj, self._undefined_name
        if name is None or self._undefined_hint:
            return str(super()._undefined_message)
        if holder is jinja2.utils.missing:
            return f"the row has no column {name}"
        keys = ", ".join(map(str, holder)) or "nothing" if isinstance(holder, Mapping) else ""
        return f"{kind_of(holder)} has no {name}" + (f", it has {keys}" if keys else "")


class ColumnSandbox(ImmutableSandboxedEnvironment):
    """Reads items of objects and lists, and fields of results, but no attributes of Python's objects."""

    intercepted_unops = frozenset({"-"})
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        value = self._item(obj, argument)
        return Null() if value is None else value

    def _item(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, LoopContext) and argument in LOOP:
            return getattr(obj, argument)
        if isinstance(obj, Mapping) and argument in obj:
            return obj[argument]
        if isinstance(obj, column_values.WithFields) and argument in obj.fields:
            return obj.fields[argument]
        if isinstance(obj, Sequence) and isinstance(argument, int) and -len(obj) <= argument < len(obj):
            return obj[argument]
        if obj is None or isinstance(obj, jinja2.Undefined):
            return obj
        return self.undefined(obj=obj, name=argument)

    def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
        return calculate("-", 0, arg)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        return calculate(operator, left, right)


@lru_cache(maxsize=1)
def prompt_environment() -> ColumnSandbox:
    return _restricted(
        ColumnSandbox(
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=Absent,
            finalize=shown,
            cache_size=0,
            optimized=False,
        )
    )


@lru_cache(maxsize=1)
def condition_environment() -> ColumnSandbox:
    return _restricted(ColumnSandbox(undefined=Null, cache_size=0))


def _restricted(environment: ColumnSandbox) -> ColumnSandbox:
    environment.globals.clear()
    builtin = {name: environment.filters[name] for name in OWN_FILTERS}
    environment.filters = {**builtin, **column_values.FILTERS, "compare": compare}
    environment.tests = {name: environment.tests[name] for name in TESTS} | {"none": is_null}
    return environment
