"""The columns of exported rows, without reference to a format: a type, a list of one, or a mapping.

What an exported row says of where it comes from, beyond what its unit stores.

What is counted while rows go by: they are read once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import islice
from typing import Any, TypeVar

from models.core.types import JSON
from storage.ledger.queries import ResultRow

Shape = dict[str, Any]
PASSAGE: Shape = {"id": str, "name": str, "score": float}
PROVENANCE: Shape = {
    "run": str,
    "experiment": str,
    "teacher": str,
    "unit": str,
    "generations": [str],
    "prompt_sha256": str,
    "passages": [str],
    "rule": str,
    "cost_usd": float,
    "starmill": str,
}


def dollars(nano_usd: float) -> float:
    return round(nano_usd / 1e9, 12)


# So many rows are looked up together.
AT_ONCE = 100
T = TypeVar("T")


def unit_name(unit: ResultRow) -> str:
    """`train/17/rationalize/pass-1/0`: split, row, stage, variant and sample; the same in every run."""
    return "/".join(map(str, (unit.split, unit.number, unit.stage, unit.variant, unit.sample)))


def prompt_sha256(body: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of the prompt or the messages that a model was sent, whichever model it was, hexadecimal.
    None where nothing was asked."""
    if body is None:
        return None
    words = body["prompt"] if "prompt" in body else body["messages"]
    text = json.dumps(words, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def starmill_version() -> str:
    return version("starmill")


def in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, AT_ONCE)):
        yield batch


def prompt_text(body: JSON) -> str:
    """The words of a request as one text, each message under its role."""
    if "prompt" in body:
        return str(body["prompt"])
    return "\n\n".join(f"[{said['role']}]\n{said['content']}" for said in body["messages"])


@dataclass(slots=True)
class Tally:
    """Rows by split (one, without a name, where there are no splits) and by source, variant or stage; dollars
    of all; and the generation that the first rests on."""

    splits: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    generation: str | None = None

    @property
    def total(self) -> int:
        return self.splits.total()

    def add(self, split: str, row: dict[str, Any]) -> None:
        self.splits[split] += 1
        self.groups[row.get("source") or row.get("variant") or row.get("stage") or ""] += 1
        provenance = row.get("provenance", {})
        self.cost_usd += provenance.get("cost_usd", 0.0)
        if self.generation is None:
            keys = provenance.get("generations") or [provenance.get("generation")]
            self.generation = keys[-1]
