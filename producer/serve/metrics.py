"""The metrics that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.core.engine_load import GpuReading
from producer.progress.engine_status import EngineStatus
from producer.progress.status import LimitUse, Status
from producer.serve.snapshots import RunSnapshot
from storage.ledger.counts import STATES
from storage.limits.usage import IN_FLIGHT, REQUESTS, TOKENS
from storage.schema import FINISHED, INTERRUPTED, PAUSED, PLANNED, RUNNING

RUN_STATES = (PLANNED, RUNNING, PAUSED, INTERRUPTED, FINISHED)
ENGINE = ("run", "student", "worker")
GPU = ("worker", "gpu", "name")
# Name, labels, meaning; counters end in `_total`.
FAMILIES: dict[str, tuple[tuple[str, ...], str]] = {
    "starmill_run_state": (
        ("run", "experiment", "state"),
        "1 for the state that the run is in (planned, running, paused, interrupted, finished), 0 for others",
    ),
    "starmill_rows": (
        ("run", "state"),
        "rows: finished (nothing of them is open), failed (a step has no result), open",
    ),
    "starmill_units_planned": (("run",), "units of the run"),
    "starmill_units": (("run", "stage", "state"), "units: waiting, ready, in_flight, done, failed, skipped"),
    "starmill_units_per_second": (("run",), "units that ended a second, over the last minute"),
    "starmill_eta_seconds": (("run",), "seconds until the run ends, by the calls still to come"),
    "starmill_calls_total": (("run",), "model calls that the run bought"),
    "starmill_tokens_total": (
        ("run", "kind"),
        "tokens that the run bought: prompt, cached (a part of prompt), completion",
    ),
    "starmill_cost_dollars_total": (("run",), "US dollars that these calls cost"),
    "starmill_charged_dollars": (("run",), "US dollars charged to the budget, also for calls in flight"),
    "starmill_budget_dollars": (("run",), "US dollars that the run may spend"),
    "starmill_rejections_total": (("run", "reason"), "answers that were not accepted"),
    "starmill_failures": (("run", "reason"), "units that are failed now; a retry takes them away"),
    "starmill_limit_requests_per_minute": (("limit",), "calls that started in the last minute"),
    "starmill_limit_tokens_per_minute": (("limit",), "tokens of these calls"),
    "starmill_limit_in_flight": (("limit",), "calls in flight"),
    "starmill_limit_allowed": (
        ("limit", "of"),
        "what holds now: requests_per_minute, tokens_per_minute, in_flight",
    ),
    "starmill_limit_use_ratio": (("limit", "of"), "share of what is allowed that is used, 0 to 1"),
    "starmill_limit_calls_total": (
        ("limit",),
        "calls that the limits let start, since Redis forgot them last",
    ),
    "starmill_limit_refused_total": (("limit",), "calls that the provider refused with 429"),
    "starmill_limit_blocked_seconds": (
        ("limit",),
        "seconds until Retry-After is over; 0 where nothing waits",
    ),
    "starmill_limit_circuit_open": (("limit",), "1 while an outage lets only probes through"),
    "starmill_engine_sequences": (
        (*ENGINE, "state"),
        "sequences of a model in a worker, in any role: running, waiting",
    ),
    "starmill_engine_capacity": (ENGINE, "most sequences that it answers at once"),
    "starmill_engine_occupancy_ratio": (ENGINE, "mean share of the capacity in use while busy, 0 to 1"),
    "starmill_engine_busy_seconds_total": (ENGINE, "seconds in which it had anything to do"),
    "starmill_engine_tokens_total": ((*ENGINE, "kind"), "tokens that it read and wrote: prompt, completion"),
    "starmill_gpu_memory_bytes": (
        (*GPU, "state"),
        "memory of a GPU that a worker with an engine may use: used, total",
    ),
    "starmill_gpu_utilization_ratio": (GPU, "share of the last moment in which it computed, 0 to 1"),
    "starmill_reading_age_seconds": (("run",), "age of the counts"),
    "starmill_reading_duration_seconds": (("run",), "seconds that counting took"),
}


@dataclass(eq=False)
class Samples(Collector):
    """The values of one scrape."""

    families: dict[str, Metric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (labels, meaning) in FAMILIES.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            self.families[name] = kind(name, meaning, labels=labels)

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample, unless the value is None."""
        family = self.families[f"starmill_{name}"]
        if value is not None:
            assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
            family.add_metric(labels, value)

    def collect(self) -> Iterator[Metric]:
        return iter(self.families.values())


def exposition(snapshots: Iterable[RunSnapshot], now: float) -> bytes:
    """Return the text format of Prometheus. `now` is in seconds since the epoch."""
    samples, limits = Samples(), dict[str, LimitUse]()
    gpus: dict[str, tuple[GpuReading, ...]] = {}
    # The newest run comes first: its values of what runs share win.
    for snapshot in snapshots:
        _add_run(samples, snapshot.status)
        for engine in snapshot.status.engines:
            if engine.alive:
                _add_engine(samples, snapshot.run.id, engine)
        gpus = snapshot.status.gpus | gpus
        samples.add("reading_age_seconds", max(0.0, now - snapshot.at), snapshot.run.id)
        samples.add("reading_duration_seconds", snapshot.seconds, snapshot.run.id)
        for limit in snapshot.status.limits:
            limits.setdefault(limit.name, limit)
    for name, limit in limits.items():
        _add_limit(samples, name, limit)
    for worker, several in gpus.items():
        _add_gpus(samples, worker, several)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(samples)
    return generate_latest(registry)


def _add_run(samples: Samples, status: Status) -> None:
    run, spending = status.run.id, status.spending
    for state in RUN_STATES:
        samples.add("run_state", state == status.state, run, status.run.name, state)
    for state in ("finished", "failed", "open"):
        samples.add("rows", getattr(status.rows, state), run, state)
    samples.add("units_planned", status.run.planned, run)
    for stage, states in status.stages.items():
        for state in STATES:
            samples.add("units", states[state], run, stage, state)
    samples.add("units_per_second", status.rate / 60, run)
    samples.add("eta_seconds", status.eta, run)
    samples.add("calls_total", spending.calls, run)
    for kind in ("prompt", "cached", "completion"):
        samples.add("tokens_total", getattr(spending.usage, kind), run, kind)
    samples.add("cost_dollars_total", spending.dollars, run)
    samples.add("charged_dollars", status.budget.charged / 1e9, run)
    budget = status.budget.limit
    samples.add("budget_dollars", None if budget is None else budget / 1e9, run)
    for reason, number in status.rejections.items():
        samples.add("rejections_total", number, run, reason)
    for reason, number in status.failures.items():
        samples.add("failures", number, run, reason)


def _add_limit(samples: Samples, name: str, limit: LimitUse) -> None:
    use = limit.use
    for unit in (REQUESTS, TOKENS, IN_FLIGHT):
        samples.add(f"limit_{unit}", use.used[unit], name)
        samples.add("limit_allowed", use.allowed.get(unit), name, unit)
        samples.add("limit_use_ratio", use.shares.get(unit), name, unit)
    samples.add("limit_calls_total", use.calls, name)
    samples.add("limit_refused_total", use.refused, name)
    samples.add("limit_blocked_seconds", use.blocked, name)
    samples.add("limit_circuit_open", use.circuit_open, name)


def _add_engine(samples: Samples, run: str, engine: EngineStatus) -> None:
    labels, load = (run, engine.model, engine.worker), engine.load
    samples.add("engine_sequences", load.running, *labels, "running")
    samples.add("engine_sequences", load.waiting, *labels, "waiting")
    samples.add("engine_capacity", load.capacity, *labels)
    samples.add("engine_occupancy_ratio", load.occupancy, *labels)
    samples.add("engine_busy_seconds_total", load.busy_seconds, *labels)
    samples.add("engine_tokens_total", load.usage.prompt, *labels, "prompt")
    samples.add("engine_tokens_total", load.usage.completion, *labels, "completion")


def _add_gpus(samples: Samples, worker: str, gpus: Iterable[GpuReading]) -> None:
    for gpu in gpus:
        labels = (worker, gpu.device, gpu.name)
        samples.add("gpu_memory_bytes", gpu.memory_used, *labels, "used")
        samples.add("gpu_memory_bytes", gpu.memory_total, *labels, "total")
        samples.add("gpu_utilization_ratio", gpu.utilization, *labels)
