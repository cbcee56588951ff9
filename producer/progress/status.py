"""The status of a run as one value, for the terminal, JSON, the run page and metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.adapters.backends import limit_name, model_identity
from models.core.engine_load import LoadReading
from models.core.experiment.endpoints import Student, Teacher
from models.core.pipeline.stages import STAGES
from producer.local.redis_config import local_redis
from producer.progress.wait_lines import idle_queues, unpriced_models, wait_lines
from storage.database import Database
from storage.ledger import counts, engines, runs
from storage.ledger.budget import Budget, read_budget
from storage.ledger.counts import IN_FLIGHT, STATES, Funnel, Spending
from storage.ledger.runs import Run
from storage.limits.limiter import Quota
from storage.limits.troubles import unserved
from storage.limits.usage import LimitUsage, connect_reader, read_usage
from storage.schema import FAILED, READY, RUNNING, WAITING
from storage.settings import Settings

RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The use of the limits `name`, which the teacher and students in `endpoints` share."""

    name: str
    endpoints: tuple[str, ...]
    use: LimitUsage

    def document(self) -> dict[str, Any]:
        use = self.use
        return {
            "name": self.name,
            "endpoints": list(self.endpoints),
            "used": {unit: round(value, 1) for unit, value in use.used.items()},
            "allowed": {unit: round(limit, 1) for unit, limit in use.allowed.items()},
            "shares": {unit: round(share, 3) for unit, share in use.shares.items()},
            "calls": use.calls,
            "refused_429": use.refused,
            "blocked_seconds": round(use.blocked, 1),
            "circuit_open": use.circuit_open,
            "trouble": asdict(use.trouble) if use.trouble else None,
        }


class LimitWatch:
    """Reads from Redis the use of limits, and which queues no worker serves. If Redis is away: nothing, and a
    new try RETRY_SECONDS later."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._away_until = 0.0

    def read(self, run: Run, queues: Sequence[str] = ()) -> tuple[tuple[LimitUse, ...], list[str]]:
        """Return the limits of the run's models, and those of `queues` that no worker serves."""
        if time.monotonic() < self._away_until:
            return (), []
        # Imported late: it is a sixth of the modules of `starmill status`, and finished runs do not need it.
        from redis.exceptions import RedisError

        # The Redis of a local run has another port each time.
        url = self._settings.redis_url or local_redis(self._settings.root) or self._settings.broker
        try:
            with connect_reader(url) as client:
                limits = tuple(
                    LimitUse(
                        name, tuple(each.name for each in sharing), read_usage(client, name, _quota(sharing))
                    )
                    for name, sharing in endpoints_by_limit(run).items()
                )
                return limits, unserved(client, queues)
        except (RedisError, ValueError):
            self._away_until = time.monotonic() + RETRY_SECONDS
            return (), []


def endpoints_by_limit(run: Run) -> dict[str, list[Teacher | Student]]:
    """Group the models that are asked over a network by the name of their limits."""
    experiment = run.experiment
    endpoints: dict[str, list[Teacher | Student]] = {limit_name(experiment.teacher): [experiment.teacher]}
    asked: list[Teacher | Student] = [each for each in experiment.students if not each.runs_in_worker]
    if experiment.asks_judge and experiment.judge.model:
        asked.append(experiment.judge.model)
    for endpoint in asked:
        endpoints.setdefault(limit_name(endpoint), []).append(endpoint)
    return endpoints


def _quota(sharing: list[Teacher | Student]) -> Quota:
    """Return the limits of the last endpoint, which win in a worker, too."""
    last = sharing[-1]
    return Quota(last.rpm, last.tpm, last.max_concurrency)


RATE_WINDOW = 60.0
SILENCE = 15.0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A model in a worker. `alive` while the worker reports; the load counts since the model was opened."""

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
    """The counts of a run. `rate` is in units per minute, over the last minute.

    `eta` is in seconds, None while nothing moves. `limits` and `waits` (lines on what the run waits for) are
    empty unless the run and Redis are up. `unpriced` names the models that are paid but have no price.
    """

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
    waits: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()

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
        """Return the object that `starmill status --json` prints."""
        return {
            "run": self.run.id,
            "experiment": self.run.name,
            "state": self.state,
            "message": self.message,
            "planned": self.run.planned,
            "units": _counts(self.units),
            "stages": {stage: _counts(self.funnel.total(stage=stage)) for stage in STAGES
                       if self.funnel.total(stage=stage)},
            "variants": {name: _counts(states) for name, states in self.funnel.variants("answer").items()},
            "rate_per_minute": round(self.rate, 1),
            "eta_seconds": None if self.eta is None else round(self.eta),
            "calls": self.spending.calls,
            "tokens": {
                "prompt": self.spending.usage.prompt,
                "cached": self.spending.usage.cached,
                "completion": self.spending.usage.completion,
                "reasoning": self.spending.usage.reasoning,
            },
            "estimated_calls": self.spending.estimated,
            "cost_usd": self.spending.dollars,
            "possible_usd": self.budget.unanswered / 1e9,
            "unpriced_models": list(self.unpriced),
            "charged_usd": self.budget.charged / 1e9,
            "budget_usd": None if self.budget.limit is None else self.budget.limit / 1e9,
            "failures": self.failures,
            "rejections": self.rejections,
            "engines": [engine.document() for engine in self.engines],
            "limits": [limit.document() for limit in self.limits],
            "waits": list(self.waits),
        }  # fmt: skip


def read_status(db: Database, run: Run, now: float, limits: LimitWatch | None = None) -> Status:
    """Count the run in the ledger at `now`, seconds since the epoch. With `limits`, also read their use."""
    state, message = runs.run_state(db, run.id)
    funnel = counts.funnel(db, run.id, now)
    units = funnel.total()
    window = min(RATE_WINDOW, max(1.0, now - run.started_at))
    rate = counts.count_final_since(db, run.id, now - window) * 60 / window
    left = sum(units[open_state] for open_state in (WAITING, READY, IN_FLIGHT))
    moving = state == RUNNING and rate > 0
    uses: tuple[LimitUse, ...] = ()
    missing: list[str] = []
    if limits and state == RUNNING:
        uses, missing = limits.read(run, idle_queues(run, funnel, now))
    return Status(
        run, state, message, funnel, counts.spending(db, run.id), read_budget(db, run.id),
        rate if state == RUNNING else 0.0,
        left * 60 / rate if moving else None,
        counts.failure_reasons(db, run.id), counts.rejection_reasons(db, run.id), _engines(db, run, now),
        uses, wait_lines([(each.endpoints, each.use) for each in uses], missing, now),
        unpriced_models(run.experiment),
    )  # fmt: skip


def _engines(db: Database, run: Run, now: float) -> tuple[EngineStatus, ...]:
    names = {model_identity(each): each.name for each in run.experiment.students if each.runs_in_worker}
    reports = engines.engine_readings(db, names, run.started_at) if names else []
    return tuple(
        EngineStatus(names[engine.model], engine.owner, engine.load, now - engine.updated_at < SILENCE)
        for engine in reports
    )


def _counts(states: Counter[str]) -> dict[str, int]:
    return {"planned": states.total(), **{state: states[state] for state in STATES}}
