"""The time of model calls within their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.adapters.backends import EMBEDDED_SLOTS, limit_name
from models.core.experiment.endpoints import Model


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """Calls of one model: their number, their tokens, and the seconds that they take one after the other."""

    model: Model
    calls: float
    tokens: float
    seconds: float

    @property
    def per_call(self) -> float:
        return self.seconds / self.calls if self.calls else 0.0

    def part(self, share: float) -> ModelLoad:
        return ModelLoad(self.model, self.calls * share, self.tokens * share, self.seconds * share)


def call_seconds(loads: Iterable[ModelLoad]) -> float:
    """Return how long the calls take if all are there at once: models that share limits share the time, and
    others are asked meanwhile."""
    shared: dict[str, list[ModelLoad]] = {}
    for load in loads:
        shared.setdefault(limit_name(load.model), []).append(load)
    return max((_bound(each) for each in shared.values()), default=0.0)


def phase_seconds(chain: Sequence[ModelLoad]) -> float:
    """Return how long a phase takes whose rows go through these calls, each after the one before it."""
    return call_seconds(chain) + sum(load.per_call for load in chain)


def parallel_calls(model: Model) -> int:
    if model.runs_in_worker:
        return model.engine.sequences
    slots = EMBEDDED_SLOTS if model.backend == "embedded" else model.max_concurrency
    return min(model.max_concurrency, slots)


def _bound(loads: Sequence[ModelLoad]) -> float:
    # The last model sets the limits, as in a worker.
    model = loads[-1].model
    return max(
        sum(load.calls for load in loads) * 60 / model.rpm if model.rpm else 0.0,
        sum(load.tokens for load in loads) * 60 / model.tpm if model.tpm else 0.0,
        sum(load.seconds for load in loads) / parallel_calls(model),
    )
