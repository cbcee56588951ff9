"""The load of the engines in worker processes, shown to people who watch a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import and_, insert, select, update

from models.core.engine_load import GpuReading, LoadReading
from models.core.types import Usage
from storage.database import Database
from storage.schema import ENGINES


@dataclass(frozen=True, slots=True)
class EngineReading:
    """The load of a model in a worker process, and the GPUs of that process, reported at `updated_at`."""

    owner: str
    model: str
    load: LoadReading
    gpus: tuple[GpuReading, ...]
    updated_at: float


def report_loads(
    db: Database, owner: str, loads: Mapping[str, LoadReading], gpus: Sequence[GpuReading], now: float
) -> None:
    """Replace the loads that `owner` reported for its models, and its GPUs."""
    with db.write() as connection:
        for model, load in loads.items():
            values = {
                "capacity": load.capacity,
                "running": load.running,
                "waiting": load.waiting,
                "busy_seconds": load.busy_seconds,
                "sequence_seconds": load.sequence_seconds,
                "prompt_tokens": load.usage.prompt,
                "completion_tokens": load.usage.completion,
                "gpus": [asdict(gpu) for gpu in gpus],
                "updated_at": now,
            }
            known = and_(ENGINES.c.owner == owner, ENGINES.c.model == model)
            if not connection.execute(update(ENGINES).where(known).values(values)).rowcount:
                connection.execute(insert(ENGINES).values(owner=owner, model=model, **values))


def engine_readings(db: Database, models: Collection[str], since: float) -> list[EngineReading]:
    """Return the loads of these models that were reported since then."""
    query = (
        select(ENGINES)
        .where(ENGINES.c.model.in_(models), ENGINES.c.updated_at >= since)
        .order_by(ENGINES.c.model, ENGINES.c.owner)
    )
    with db.read() as connection:
        rows = connection.execute(query).all()
    return [
        EngineReading(
            row.owner,
            row.model,
            LoadReading(
                row.capacity,
                row.running,
                row.waiting,
                row.busy_seconds,
                row.sequence_seconds,
                Usage(row.prompt_tokens, 0, row.completion_tokens),
            ),
            tuple(GpuReading(**gpu) for gpu in row.gpus or ()),
            row.updated_at,
        )
        for row in rows
    ]
