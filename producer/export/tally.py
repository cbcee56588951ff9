"""What is counted while rows go by: they are read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


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
