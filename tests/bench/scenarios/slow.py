"""Units that outlive the visibility timeout: their messages are delivered again while they run."""

from __future__ import annotations

from tests.bench.plain_loop import plain
from tests.bench.scenarios.base import Bench, Outcome
from tests.bench.starting import installed

VISIBILITY_SECONDS = 5


def slow(bench: Bench) -> Outcome:
    """128 calls of 15 s at a visibility timeout of 5 s; two workers have threads to spare for what comes
    again, which kombu looks for every 10 s."""
    load = bench.load(
        128, quick=16, concurrency=16 if bench.quick else 128, latency_ms=15_000, workers=2, threads=96,
        visibility_seconds=VISIBILITY_SECONDS, sections={"units_per_task": {"augment": 1}},
    )  # fmt: skip
    with bench.server() as server:
        outcome = {"plain": plain(load, server, bench.folder / "plain")}
        with installed(load, server, bench.folder / "starmill") as installation:
            before = installation.deliveries()
            installation.begin()
            installation.wait_for(load.calls)
            delivered = installation.deliveries() - before
            outcome["starmill"] = installation.measured(delivered_again=delivered - load.calls)
    return outcome
