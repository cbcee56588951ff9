"""Hits as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from models.types import Hit, Passage

DECIMALS = 6


def to_record(hit: Hit) -> dict[str, Any]:
    """The passage with its score, and the parts of the score by name."""
    scores = {name: round(score, DECIMALS) for name, score in hit.scores.items()}
    return {**asdict(hit.passage), "score": round(hit.score, DECIMALS), "scores": scores}


def hits_of(records: Iterable[Mapping[str, Any]]) -> list[Hit]:
    """What a unit of the stage retrieve recorded, in that order."""
    return [_from_record(record) for record in records]


def _from_record(record: Mapping[str, Any]) -> Hit:
    passage = Passage(record["id"], record["name"], record["signature"], record["text"], record["library"])
    # Runs of earlier releases have no parts.
    return Hit(passage, record.get("score", 0.0), record.get("scores", {}))
