"""The scenarios, in the order in which they run."""

from tests.bench.scenarios.base import Bench, Outcome, Scenario, Unmeasured
from tests.bench.scenarios.budget import budget
from tests.bench.scenarios.faults import limits, malformed, outage
from tests.bench.scenarios.job import job
from tests.bench.scenarios.kill import kill
from tests.bench.scenarios.million import million
from tests.bench.scenarios.scale import scale
from tests.bench.scenarios.slow import slow
from tests.bench.scenarios.throughput import base, fast, jitter, memory

SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (
        job,
        base,
        jitter,
        fast,
        memory,
        kill,
        slow,
        limits,
        outage,
        malformed,
        budget,
        million,
        scale,
    )
}

__all__ = ["SCENARIOS", "Bench", "Outcome", "Scenario", "Unmeasured"]
