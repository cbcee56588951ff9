"""The status of a run as one value, for the terminal, JSON, the run page and metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from models.adapters.backends import limit_name
from models.core.engine_load import GpuReading
from models.core.experiment.endpoints import Model
from models.core.pipeline.plan import stage_names
from producer.local.redis_config import local_redis
from producer.progress.engine_status import EngineStatus, read_engines
from producer.progress.eta import ENOUGH, Pace, seconds_left
from producer.progress.standstill import standstill_lines
from producer.progress.wait_lines import needed_queues, unpriced_models, wait_lines
from storage.database import Database
from storage.ledger import counts, runs
from storage.ledger.budget import Budget, read_budget
from storage.ledger.counts import IN_FLIGHT, STATES, Funnel, Spending
from storage.ledger.pace import ended_since
from storage.ledger.row_counts import RowCounts, row_counts
from storage.ledger.runs import Run
from storage.ledger.scheduling import current_feeder
from storage.ledger.stand_ins import stand_in_reasons
from storage.limits.limiter import Quota
from storage.limits.troubles import unserved
from storage.limits.usage import LimitUsage, connect_reader, read_usage
from storage.schema import FAILED, INTERRUPTED, PAUSED, READY, RUNNING, WAITING
from storage.service_errors import redis_trouble
from storage.settings import Settings

RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The use of the limits `name`, which the models in `endpoints` share."""

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
    new try RETRY_SECONDS later; `trouble` says so meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._away_until = 0.0
        self.trouble = ""

    def read(self, run: Run, queues: Sequence[str] = ()) -> tuple[tuple[LimitUse, ...], list[str]]:
        """Return the limits of the run's models, and those of `queues` that no worker serves."""
        if time.monotonic() < self._away_until:
            return (), []
        self.trouble = ""
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
        except (RedisError, ValueError) as error:
            self.trouble = redis_trouble(error)
            self._away_until = time.monotonic() + RETRY_SECONDS
            return (), []


def endpoints_by_limit(run: Run) -> dict[str, list[Model]]:
    """Group the models that are asked over a network by the name of their limits."""
    endpoints: dict[str, list[Model]] = {}
    for endpoint in run.experiment.asked:
        if not endpoint.runs_in_worker:
            endpoints.setdefault(limit_name(endpoint), []).append(endpoint)
    return endpoints


def _quota(sharing: list[Model]) -> Quota:
    """Return the limits of the last endpoint, which win in a worker, too."""
    last = sharing[-1]
    return Quota(last.rpm, last.tpm, last.max_concurrency)


# A window in which too few units ended is followed by the next one.
RATE_WINDOWS = (60.0, 600.0)


@dataclass(frozen=True, slots=True)
class Status:
    """The counts of a run. `rate` is in units per minute, over the last minute.

    `eta` is in seconds, None while nothing moves. `limits` is empty unless the run and Redis are up, `waits`
    has lines on why the run stands still, or a part of it. `unpriced` names the models that are paid but have
    no price. `stand_ins` counts units that failed and whose rows went on, by stage and reason.
    """

    run: Run
    state: str
    message: str
    rows: RowCounts
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
    stand_ins: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def gpus(self) -> dict[str, tuple[GpuReading, ...]]:
        """The GPUs of workers that report, by worker: models of one worker share them."""
        return {engine.worker: engine.gpus for engine in self.engines if engine.alive}

    @property
    def units(self) -> Counter[str]:
        return self.funnel.total()

    @property
    def stages(self) -> dict[str, Counter[str]]:
        """The units of each stage or step that has any, in order."""
        totals = {name: self.funnel.total(stage=name) for name in stage_names(self.run.experiment)}
        return {name: states for name, states in totals.items() if states}

    @property
    def variants(self) -> dict[str, Counter[str]]:
        """The answers of students by cell of the grid."""
        return {} if self.run.experiment.steps else self.funnel.variants("answer")

    def label(self, stage: str) -> str:
        """Return the stage, or the step with what it makes, such as `draft (answers)`."""
        step = self.run.experiment.steps.get(stage)
        return f"{stage} ({step.makes})" if step else stage

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
            "rows": self.rows.document(),
            "planned": self.run.planned,
            "units": _counts(self.units),
            "stages": {stage: _counts(states) for stage, states in self.stages.items()},
            "variants": {name: _counts(states) for name, states in self.variants.items()},
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
            "stand_ins": {stage: dict(reasons) for stage, reasons in self.stand_ins.items()},
            "engines": [engine.document() for engine in self.engines],
            "limits": [limit.document() for limit in self.limits],
            "waits": list(self.waits),
        }  # fmt: skip


def read_status(db: Database, run: Run, now: float, limits: LimitWatch | None = None) -> Status:
    """Count the run in the ledger at `now`, seconds since the epoch. With `limits`, also read their use."""
    state, message = runs.run_state(db, run.id)
    funnel = counts.funnel(db, run.id, now)
    spent = counts.spending_by_stage(db, run.id)
    uses: tuple[LimitUse, ...] = ()
    waits: tuple[str, ...] = ()
    rate, eta = 0.0, None
    if state == RUNNING:
        pace = _pace(db, run, now)
        rate = 60 * pace.number / pace.seconds(pace.ended)
        eta = None if pace.stands_still else seconds_left(run, funnel, pace, spent)
        if limits:
            uses, waits = _read_waits(db, run, funnel, pace, limits)
    elif state in (PAUSED, INTERRUPTED):
        waits = (f"{state}: {message}",)
    return Status(
        run, state, message, row_counts(db, run, funnel), funnel, Spending.total(spent.values()),
        read_budget(db, run.id), rate, eta,
        counts.failure_reasons(db, run.id), counts.rejection_reasons(db, run.id), read_engines(db, run, now),
        uses, waits, unpriced_models(run.experiment), stand_in_reasons(db, run.id),
    )  # fmt: skip


def _pace(db: Database, run: Run, now: float) -> Pace:
    """Read the units that ended lately, since the run was started last."""
    for window in RATE_WINDOWS:
        since = max(run.started_at, now - window)
        pace = Pace(ended_since(db, run.id, since), since, now)
        if pace.number >= ENOUGH or since == run.started_at:
            break
    return pace


def _read_waits(
    db: Database, run: Run, funnel: Funnel, pace: Pace, limits: LimitWatch
) -> tuple[tuple[LimitUse, ...], tuple[str, ...]]:
    """Return the use of limits, and the lines on what the run waits for."""
    uses, missing = limits.read(run, needed_queues(run, funnel, pace.now))
    named = [(each.endpoints, each.use) for each in uses]
    if pace.stands_still and not current_feeder(db, run.id, pace.now):
        waits: tuple[str, ...] = (f"nobody feeds the run; go on with: starmill resume {run.id}",)
    elif limits.trouble:
        waits = (f"{limits.trouble}; the run waits for it",)
    else:
        waits = wait_lines(named, missing, pace.now)
    if pace.stands_still and not waits:
        waits = standstill_lines(run, funnel, pace, named)
    return uses, waits


def _counts(states: Counter[str]) -> dict[str, int]:
    return {"planned": states.total(), **{state: states[state] for state in STATES}}
