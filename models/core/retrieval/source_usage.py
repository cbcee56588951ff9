"""Count how often source code uses documented names: what is used often is asked for often."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.name_groups import owner_and_last
from models.core.types import Passage

_IMPORT_AS = re.compile(r"^[ \t]*import[ \t]+([\w.]+)[ \t]+as[ \t]+(\w+)", re.MULTILINE)
_FROM_IMPORT = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n(]*)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"\b([A-Za-z_]\w*)\.([A-Za-z_]\w*)")
_FUNCTION_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\(")
_METHOD_CALL = re.compile(r"\.([A-Za-z_]\w*)\(")
# A file that repeats a name says little more than one that uses it a few times.
MAX_PER_FILE = 5
USAGE_KINDS = ("qualified_uses", "function_calls", "method_calls")


def usage_keys(passage: Passage) -> tuple[str, str, str]:
    """Return the keys under which the uses of a passage's name are counted, one for each of USAGE_KINDS: for
    `numpy.arange` these are `numpy.arange`, `arange(` and `.arange(`."""
    owner, last = owner_and_last(passage)
    return f"{(owner or passage.library).rpartition('.')[2]}.{last}", f"{last}(", f".{last}("


def count_uses(sources: Iterable[str], documented: Collection[str]) -> Counter[str]:
    """Count the `documented` keys in Python source files, each at most five times a file.

    Names that `import ... as` gives to modules are resolved, and `from a.b import c` counts as a use of
    `b.c`. Comments and strings count too; calls of what a file itself defines are not told apart.
    """
    total: Counter[str] = Counter()
    for source in sources:
        uses = _uses_in(source)
        total.update({key: min(uses[key], MAX_PER_FILE) for key in uses.keys() & documented})
    return total


def _uses_in(source: str) -> Counter[str]:
    modules = {alias: module.rpartition(".")[2] for module, alias in _IMPORT_AS.findall(source)}
    uses = Counter(f"{modules.get(owner, owner)}.{name}" for owner, name in _ATTRIBUTE.findall(source))
    for module, names in _FROM_IMPORT.findall(source):
        uses.update(f"{module.rpartition('.')[2]}.{name}" for name in re.findall(r"\w+", names))
    uses.update(f"{name}(" for name in _FUNCTION_CALL.findall(source))
    uses.update(f".{name}(" for name in _METHOD_CALL.findall(source))
    return uses


def usage_table(passages: Sequence[Passage], uses: Mapping[str, int]) -> NDArray[np.float32]:
    """Return log(1 + uses) of the passages' names, [passages, USAGE_KINDS]."""
    counts = [[uses.get(key, 0) for key in usage_keys(passage)] for passage in passages]
    return np.log1p(np.array(counts, dtype=np.float32).reshape(-1, len(USAGE_KINDS)))
