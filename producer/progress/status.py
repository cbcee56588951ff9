"""Where a run stands, as one value: for the terminal, for JSON, for whoever asks next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from models.backends import model_identity
from models.load import LoadReading
from models.stages import STAGES
from producer.progress.limits import LimitUse, LimitWatch
from storage.database import Database
from storage.ledger import counts, engines, planning
from storage.ledger.budget import Budget, read_budget
from storage.ledger.counts import IN_FLIGHT, STATES, Funnel, Spending
from storage.ledger.planning import Run
from storage.schema import FAILED, READY, RUNNING, WAITING

RATE_WINDOW = 60.0
SILENCE = 15.0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A model in a worker; `alive` while the worker is heard of. The load counts from when it was opened."""

    student: str
    worker: str
    load: LoadReading
    alive: bool

    def document(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "worker": self.worker,
            "alive": self.alive,
            "running": self.load.running,
            "waiting": self.load.waiting,
            "max_num_seqs": self.load.capacity,
            "occupancy": round(self.load.occupancy, 3),
            "busy_seconds": round(self.load.busy_seconds, 1),
            "tokens": {"prompt": self.load.usage.prompt, "completion": self.load.usage.completion},
        }


@dataclass(frozen=True, slots=True)
class Status:
    """`rate` is in units per minute over the last minute; `eta` in seconds, None while nothing moves.
    `limits` are those that a running run uses; none where Redis cannot be asked."""

    run: Run
    state: str
    message: str
    funnel: Funnel
    spending: Spending
    budget: Budget
    rate: float
    eta: float | None
    failures: dict[str, int]
    rejections: dict[str, int]
    engines: tuple[EngineStatus, ...] = ()
    limits: tuple[LimitUse, ...] = ()

    @property
    def units(self) -> Counter[str]:
        return self.funnel.total()

    @property
    def left(self) -> int:
        return sum(self.units[state] for state in (WAITING, READY, IN_FLIGHT))

    @property
    def failed(self) -> int:
        return self.units[FAILED]

    def document(self) -> dict[str, Any]:
        """What `starmill status --json` prints."""
        return {
            "run": self.run.id,
            "experiment": self.run.name,
            "state": self.state,
            "message": self.message,
            "planned": self.run.planned,
            "units": _counts(self.units),
            "stages": {stage: _counts(self.funnel.total(stage=stage)) for stage in STAGES
                       if self.funnel.total(stage=stage)},
            "variants": {name: _counts(found) for name, found in self.funnel.variants("answer").items()},
            "rate_per_minute": round(self.rate, 1),
            "eta_seconds": None if self.eta is None else round(self.eta),
            "calls": self.spending.calls,
            "tokens": {
                "prompt": self.spending.usage.prompt,
                "cached": self.spending.usage.cached,
                "completion": self.spending.usage.completion,
            },
            "cost_usd": self.spending.dollars,
            "charged_usd": self.budget.charged / 1e9,
            "budget_usd": None if self.budget.limit is None else self.budget.limit / 1e9,
            "failures": self.failures,
            "rejections": self.rejections,
            "engines": [engine.document() for engine in self.engines],
            "limits": [limit.document() for limit in self.limits],
        }  # fmt: skip


def read_status(db: Database, run: Run, now: float, limits: LimitWatch | None = None) -> Status:
    """Counted from the ledger at `now`, seconds since the epoch; with `limits` how far they are used."""
    state, message = planning.run_state(db, run.id)
    funnel = counts.funnel(db, run.id, now)
    units = funnel.total()
    window = min(RATE_WINDOW, max(1.0, now - run.started_at))
    rate = counts.final_since(db, run.id, now - window) * 60 / window
    left = sum(units[open_state] for open_state in (WAITING, READY, IN_FLIGHT))
    moving = state == RUNNING and rate > 0
    return Status(
        run, state, message, funnel, counts.spending(db, run.id), read_budget(db, run.id),
        rate if state == RUNNING else 0.0,
        left * 60 / rate if moving else None,
        counts.failure_reasons(db, run.id), counts.rejection_reasons(db, run.id), _engines(db, run, now),
        limits.read(run) if limits and state == RUNNING else (),
    )  # fmt: skip


def _engines(db: Database, run: Run, now: float) -> tuple[EngineStatus, ...]:
    names = {model_identity(each): each.name for each in run.experiment.students if each.runs_in_worker}
    found = engines.engines(db, names, run.started_at) if names else []
    return tuple(
        EngineStatus(names[engine.model], engine.owner, engine.load, now - engine.updated_at < SILENCE)
        for engine in found
    )


def _counts(states: Counter[str]) -> dict[str, int]:
    return {"planned": states.total(), **{state: states[state] for state in STATES}}
