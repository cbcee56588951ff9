"""What each stage bought: calls, tokens, dollars, and how long a call took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.stages import STAGES
from storage.database import Database
from storage.ledger import counts

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class StageSpending:
    """`latency` maps QUANTILES to seconds of a call; empty where none was recorded."""

    stage: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dollars: float
    latency: dict[str, float]


def stage_spending(db: Database, run_id: str) -> tuple[StageSpending, ...]:
    """Stages that bought something, in their order."""
    spent, seconds = counts.spending_by_stage(db, run_id), counts.latencies(db, run_id)
    found = []
    for stage in STAGES:
        if paid := spent.get(stage):
            taken = seconds.get(stage)
            latency = np.quantile(taken, [*QUANTILES.values()]).tolist() if taken else []
            found.append(
                StageSpending(
                    stage, paid.calls, paid.usage.prompt, paid.usage.cached, paid.usage.completion,
                    paid.dollars, dict(zip(QUANTILES, latency, strict=False)),
                )
            )  # fmt: skip
    return tuple(found)
