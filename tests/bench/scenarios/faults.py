"""Faults of the model server: limits, errors, an outage, malformed answers."""

from __future__ import annotations

from models.core.experiment.endpoints import Teacher
from tests.bench.experiment import where_known
from tests.bench.scenarios.base import Bench, Outcome, prefixed

RPM = 6000
OUTAGE_SECONDS = 15.0


def limits(bench: Bench) -> Outcome:
    """9,500 calls at 6,000 a minute and 5 % errors, four workers; with limits told in headers, and without.

    The ideal counts only calls that bring an answer, though one in twenty must be made again.
    """
    outcome: Outcome = {"plain": {}, "starmill": {}}
    for name, sent in (("told", True), ("untold", False)):
        there = Bench(bench.folder / name, bench.quick, bench.calls, bench.threads)
        load = there.load(
            9_500, quick=400, workers=4, threads=24,
            server={"rpm": RPM, "p500": 0.05, "limit_headers": sent}, teacher=where_known(Teacher, rpm=RPM),
        )  # fmt: skip
        for subject, values in there.both(load).items():
            outcome[subject] |= prefixed(name, values)
    return outcome


def outage(bench: Bench) -> Outcome:
    """1,000 calls; the server answers 503 for 15 s from half of the ideal time on."""
    length = 3.0 if bench.quick else OUTAGE_SECONDS
    begins = bench.load(1_000, quick=96).ideal / 2
    return bench.both(bench.load(1_000, quick=96, server={"outage_after_s": begins, "outage_s": length}))


def malformed(bench: Bench) -> Outcome:
    """2,000 calls; 5 % of the answers are null, empty, HTML, truncated or a refusal."""
    share = 0.3 if bench.quick else 0.05
    return bench.both(bench.load(2_000, quick=48, server={"malformed": share}))
