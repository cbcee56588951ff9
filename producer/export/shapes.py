"""The columns of exported rows, without reference to a format: a type, a list of one, or a mapping."""

from __future__ import annotations

from typing import Any

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
