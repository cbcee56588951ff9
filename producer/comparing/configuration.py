"""Which keys of two experiments differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ABSENT = None


def differing(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Keys, such as `students.0.model`, with both values; None stands for a key that one side lacks."""
    before, after = dict(_flat("", first)), dict(_flat("", second))
    return {
        key: (before.get(key, ABSENT), after.get(key, ABSENT))
        for key in dict.fromkeys((*before, *after))
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    }


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Lists of mappings are taken apart by place, other lists are one value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(f"{key}.{name}" if key else name, part)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for place, part in enumerate(value):
            yield from _flat(f"{key}.{place}", part)
    else:
        yield key, value
