"""The parts that exported rows of all kinds share: column types, provenance, and counts.

The type of a column is `str`, `int`, `float` or `bool`, a list of one type, or a mapping of names to types.
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
from producer.progress.wait_lines import unpriced_models
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run

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


def of_run(run: Run, value: dict[str, Any]) -> dict[str, Any]:
    """Return a row, or its shape, without `passages` if the run has none."""
    return value if run.experiment.passages else _without_passages(value)


def _without_passages(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_passages(part) if isinstance(part, dict) else part
        for name, part in value.items()
        if name != "passages"
    }


def dollars(nano_usd: float) -> float:
    return round(nano_usd / 1e9, 12)


def known_dollars(run: Run, nano_usd: float) -> float | None:
    """Return the cost of a row, or None for nothing counted where a model of the run has no price."""
    return None if not nano_usd and unpriced_models(run.experiment) else dollars(nano_usd)


# The rows of one look-up in the ledger.
BATCH_SIZE = 100
T = TypeVar("T")


def unit_name(unit: ResultRow) -> str:
    """Return split, row, stage, variant and sample, such as `train/17/rationalize/pass-1/0`. The name is the
    same in every run."""
    return "/".join(map(str, (unit.split, unit.number, unit.stage, unit.variant, unit.sample)))


def prompt_sha256(body: Mapping[str, Any] | None) -> str | None:
    """Return the hexadecimal SHA-256 of a request's prompt or messages, without its model, or None."""
    if body is None:
        return None
    prompt = body["prompt"] if "prompt" in body else body["messages"]
    text = json.dumps(prompt, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def with_reasoning(row: JSON, thoughts: Mapping[str, str] | None, generation: str | None) -> JSON:
    """Return the row with what the model thought aloud; unchanged if `thoughts` are not wanted."""
    return row if thoughts is None else row | {"reasoning": thoughts.get(generation or "")}


@cache
def starmill_version() -> str:
    return version("starmill")


def in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH_SIZE)):
        yield batch


def prompt_text(body: JSON) -> str:
    """Return the prompt of a request as one text, each message under its role."""
    if "prompt" in body:
        return str(body["prompt"])
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in body["messages"])


@dataclass(slots=True)
class Tally:
    """Counts of rows by split and by source, variant or stage, their cost, and the first row's generation.

    Rows without splits count under an empty name.
    """

    splits: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    generation: str | None = None

    @property
    def total(self) -> int:
        return self.splits.total()

    def add(self, split: str, row: dict[str, Any]) -> None:
        self.splits[split] += 1
        if group := row.get("source") or row.get("variant") or row.get("stage"):
            self.groups[group] += 1
        provenance = row.get("provenance", {})
        self.cost_usd += provenance.get("cost_usd") or 0.0
        if self.generation is None:
            keys = provenance.get("generations") or [provenance.get("generation")]
            self.generation = keys[-1]
