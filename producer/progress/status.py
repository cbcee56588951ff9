"""How far a run uses the limits of its models, read from Redis by whoever shows the run.

Where a run stands, as one value: for the terminal, for JSON, for whoever asks next.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from models.adapters.backends import limit_name, model_identity
from models.core.engine_load import LoadReading
from models.core.experiment.endpoints import Student, Teacher
from models.core.pipeline.stages import STAGES
from producer.local.redis_config import local_redis
from storage.database import Database
from storage.ledger import counts, engines, runs
from storage.ledger.budget import Budget, read_budget
from storage.ledger.counts import IN_FLIGHT, STATES, Funnel, Spending
from storage.ledger.runs import Run
from storage.limits.limiter import Quota
from storage.limits.usage import Use, connect_reader, read_use
from storage.schema import FAILED, READY, RUNNING, WAITING
from storage.settings import Settings

RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LimitUse:
    """`endpoints` are the teacher and students that share the limits of `name`."""

    name: str
    endpoints: tuple[str, ...]
    use: Use

    def document(self) -> dict[str, Any]:
        use = self.use
        return {
            "name": self.name,
            "endpoints": list(self.endpoints),
            "used": {of: round(value, 1) for of, value in use.used.items()},
            "allowed": {of: round(most, 1) for of, most in use.allowed.items()},
            "shares": {of: round(share, 3) for of, share in use.shares.items()},
            "calls": use.calls,
            "refused_429": use.refused,
            "blocked_seconds": round(use.blocked, 1),
            "circuit_open": use.circuit_open,
        }


class LimitWatch:
    """Where Redis is away, nothing is known; it is tried again PATIENCE seconds later."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._away_until = 0.0

    def read(self, run: Run) -> tuple[LimitUse, ...]:
        if time.monotonic() < self._away_until:
            return ()
        # Of runs that are over nobody asks Redis: its client would be a sixth of all modules of a status.
        from redis.exceptions import RedisError

        # The Redis of a local run has another port each time.
        url = self._settings.redis_url or local_redis(self._settings.root) or self._settings.broker
        try:
            with connect_reader(url) as client:
                return tuple(
                    LimitUse(
                        name, tuple(each.name for each in sharing), read_use(client, name, _quota(sharing))
                    )
                    for name, sharing in endpoints_by_limit(run).items()
                )
        except (RedisError, ValueError):
            self._away_until = time.monotonic() + RETRY_SECONDS
            return ()


def endpoints_by_limit(run: Run) -> dict[str, list[Teacher | Student]]:
    """Models that are asked over a network, by what they share their limits with."""
    experiment = run.experiment
    found: dict[str, list[Teacher | Student]] = {limit_name(experiment.teacher): [experiment.teacher]}
    for student in experiment.students:
        if not student.runs_in_worker:
            found.setdefault(limit_name(student), []).append(student)
    return found


def _quota(sharing: list[Teacher | Student]) -> Quota:
    """The last who said something holds, as in a worker."""
    said = sharing[-1]
    return Quota(said.rpm, said.tpm, said.max_concurrency)


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
    state, message = runs.run_state(db, run.id)
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
