"""Speed, processor time and memory without failures."""

from __future__ import annotations

from tests.bench.scenarios.base import Bench, Outcome, prefixed


def base(bench: Bench) -> Outcome:
    """2,000 calls of 200 ms, 64 at once."""
    return bench.both(bench.load(2000, quick=48))


def jitter(bench: Bench) -> Outcome:
    """The same, each call up to half faster or slower."""
    return bench.both(bench.load(2000, quick=48, server={"jitter": 0.5}))


def fast(bench: Bench) -> Outcome:
    """10,000 calls of 20 ms, 64 at once: what one worker process can do."""
    return bench.both(bench.load(10_000, quick=96, latency_ms=20))


def memory(bench: Bench) -> Outcome:
    """2,000 and 10,000 rows, each with processes of its own."""
    outcome: Outcome = {"plain": {}, "starmill": {}}
    for rows, quick in ((2_000, 48), (10_000, 96)):
        there = Bench(bench.folder / str(rows), bench.quick, bench.calls, bench.threads)
        for subject, values in there.both(there.load(rows, quick, latency_ms=20)).items():
            outcome[subject] |= prefixed(f"{rows:,} rows", values)
    for values in outcome.values():
        values["growth_mb"] = values["10,000 rows: peak_mb"] - values["2,000 rows: peak_mb"]
    return outcome
