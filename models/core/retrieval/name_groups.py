"""Groups of passages whose names are alike: those of one page, of one module or class, or with one last name.

A library has thousands of passages; what a request needs often lies beside what similar requests needed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.core.types import Passage

Integers = NDArray[np.int64]
T = TypeVar("T")


class NameGroups(NamedTuple, Generic[T]):
    """A value for each kind of groups: by the page, the module or class that owns a name, and its last part.

    For a corpus it is the number of the group of each passage, [passages].
    """

    page: T
    owner: T
    last: T


def owner_and_last(passage: Passage) -> tuple[str, str]:
    """Split a dotted name into the module or class that owns it, empty if none does, and its last part."""
    owner, _, last = passage.name.removesuffix("()").rpartition(".")
    return owner, last


def page_of(passage: Passage) -> str:
    """Return the part of the id before the definition: `python.library.re` of `python.library.re#re.sub`."""
    page, separator, _ = passage.id.partition("#")
    return page if separator else page.rpartition(".")[0]


def group_names(passages: Iterable[Passage]) -> NameGroups[Integers]:
    """Number the groups of a corpus of at least one passage."""
    keys = []
    for passage in passages:
        owner, last = owner_and_last(passage)
        keys.append((page_of(passage), (passage.library, owner), last.lower()))
    return NameGroups(*map(_numbered, zip(*keys, strict=True)))


def _numbered(keys: Sequence[Hashable]) -> Integers:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
