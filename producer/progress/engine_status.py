"""Models that run in workers: how full they are, and on which GPUs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.adapters.backends import engine_identity
from models.core.engine_load import GpuReading, LoadReading
from storage.database import Database
from storage.ledger import engines
from storage.ledger.runs import Run

# A worker that reported nothing for so long has ended.
SILENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A model in a worker, by the names that it has in the experiment. `alive` while the worker reports; the
    load counts since the model was opened."""

    model: str
    worker: str
    load: LoadReading
    gpus: tuple[GpuReading, ...]
    alive: bool

    def document(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "student": self.model,
            "worker": self.worker,
            "alive": self.alive,
            "running": self.load.running,
            "waiting": self.load.waiting,
            "max_num_seqs": self.load.capacity,
            "occupancy": round(self.load.occupancy, 3),
            "busy_seconds": round(self.load.busy_seconds, 1),
            "tokens": {"prompt": self.load.usage.prompt, "completion": self.load.usage.completion},
            "gpus": [asdict(gpu) for gpu in self.gpus],
        }


def read_engines(db: Database, run: Run, now: float) -> tuple[EngineStatus, ...]:
    """Read the engines that reported since the run was started last. `now` is in seconds since the epoch."""
    names: dict[str, list[str]] = {}
    for model in run.experiment.asked:
        if model.runs_in_worker:
            names.setdefault(engine_identity(model), []).append(model.name)
    reports = engines.engine_readings(db, names, run.started_at) if names else []
    return tuple(
        EngineStatus(
            ", ".join(names[engine.model]),
            engine.owner,
            engine.load,
            engine.gpus,
            now - engine.updated_at < SILENCE_SECONDS,
        )
        for engine in reports
    )
