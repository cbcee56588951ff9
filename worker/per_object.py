"""Values by the identity of an object."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerObject(Generic[T]):
    """Values by the identity of an object; a value is dropped together with its object."""

    def __init__(self) -> None:
        self._values: dict[int, T] = {}

    def get(self, owner: object, make: Callable[[], T]) -> T:
        key = id(owner)
        if key not in self._values:
            self._values[key] = make()
            weakref.finalize(owner, self._values.pop, key, None).atexit = False
        return self._values[key]

    def values(self) -> Iterable[T]:
        """Return the values of objects that are still there."""
        return list(self._values.values())
