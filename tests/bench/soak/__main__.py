"""python -m tests.bench.soak ROWS: a run of two steps over ROWS rows, through a kill of each part, by phase.

Writes soak.json, soak.md, soak.csv and soak.svg. The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Integer, cast, func, select

from storage.database import Database
from storage.schema import UNITS
from tests.bench import machine
from tests.bench.process_tree import TreeUsage, measure_tree
from tests.bench.soak.sampling import SAMPLE_SECONDS, Sampler
from tests.bench.soak.soak_table import Soaked, markdown, missed
from tests.bench.soak.soaked import SoakedStarmill, soaked
from tests.bench.speed_curve import speeds_of_seconds, write_speeds
from tests.support.pipeline import STARMILL

ROWS, STEPS = 100_000, 2
VICTIMS = ("worker", "feeder", "redis", "PostgreSQL", "everything")
PHASE_SECONDS = 5
# Slower than this is stuck.
UNITS_A_SECOND = 20
AFTERWARDS = {
    "export": ("export", "{run}", "-o", "{folder}/out.jsonl"),
    "report": ("report", "{run}", "-o", "{folder}/report.md"),
    "quality": ("quality", "{run}", "--json"),
    "status": ("status", "{run}", "--json"),
}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stop what was started
    for name in [name for name in os.environ if name.startswith("STARMILL_") or name == "OPENAI_API_KEY"]:
        del os.environ[name]  # nothing of the developer's own
    facts = machine.facts()
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        soaked(
            Path(folder) / "soak", options.rows, options.workers, options.threads, options.statements
        ) as starmill,
        closing(Database(starmill.database)) as db,
    ):
        result = _soak(starmill, db, options)
    document = {
        "machine": facts,
        "options": vars(options) | {"output": str(options.output)},
        **asdict(result),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "soak.json").write_text(json.dumps(document, indent=2, default=str) + "\n")
    table = markdown(result)
    (options.output / "soak.md").write_text(table)
    sys.stdout.write(table)
    for target in missed(result):
        sys.stderr.write(f"missed: {target}\n")
    return 1 if missed(result) else 0


def _soak(starmill: SoakedStarmill, db: Database, options: argparse.Namespace) -> Soaked:
    sampler = Sampler(starmill, db)
    units = STEPS * starmill.rows
    victims = () if options.no_kills else VICTIMS
    sampler.begin("plan")
    starmill.start_producer()
    deadline = time.monotonic() + 300 + units / UNITS_A_SECOND
    _run_until(lambda: sampler.done > 0, starmill, sampler, deadline)
    sampler.begin("start")
    for number, victim in enumerate(victims, 1):
        share = number / (len(victims) + 1)
        _run_until(lambda share=share: sampler.done >= share * units, starmill, sampler, deadline)  # type: ignore[misc]
        phase = sampler.begin(f"after kill -9 of {victim}")
        if victim in {"worker", "everything"}:  # nobody else has calls
            dead = starmill.pids()["worker-0"] if victim == "worker" else None
            phase.in_flight = sampler.calls_in_flight(dead)
        starmill.kill(victim)
    _run_until(lambda: starmill.is_over, starmill, sampler, deadline)
    sampler.end()
    statements = starmill.postgres.log.read_bytes().count(b"LOG:  execute") if options.statements else None
    _write_plot(db, sampler, options.output)
    after, found = _afterwards(starmill, sampler.run)
    return Soaked(
        starmill.rows, found, int(starmill.server.totals()["paid_again"]), sampler.phases, after,
        _quiet_status_ms(sampler), statements, sampler.timeline,
    )  # fmt: skip


def _run_until(true: Any, starmill: SoakedStarmill, sampler: Sampler, deadline: float) -> None:
    """Let a phase last, however small the run is."""
    least = time.monotonic() + PHASE_SECONDS
    while not (true() and time.monotonic() > least):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{sampler.done} units are final; phase {sampler.phase.name}")
        starmill.check()
        sampler.sample()
        if starmill.is_over:
            return
        time.sleep(SAMPLE_SECONDS)


def _quiet_status_ms(sampler: Sampler) -> float:
    """Return the median of a finished run, with nothing else at work."""
    phase = sampler.begin("at the end")
    for _ in range(5):
        sampler.sample()
    sampler.end()
    return median(phase.status_ms)


def _afterwards(starmill: SoakedStarmill, run: str) -> tuple[dict[str, TreeUsage], int]:
    """Measure the commands that read the run. Return the number of whole rows that were exported, too."""
    folder, usages = starmill.folder, {}
    for name, words in AFTERWARDS.items():
        command = [str(STARMILL), *(word.format(run=run, folder=folder) for word in words)]
        usages[name] = measure_tree(command, folder, starmill.home.environment, 3600)
    seen = bytearray(starmill.rows)
    with (folder / "out.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            of_row = f"number {row['number']} "
            if of_row in row["draft"] and of_row in row["again"]:
                seen[row["number"]] += 1
    return usages, seen.count(1)


def _write_plot(db: Database, sampler: Sampler, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    began = sampler.phases[0].began
    second = cast(func.floor(UNITS.c.finished_at - began), Integer)
    with db.read() as connection:
        query = select(second, func.count()).where(UNITS.c.run_id == sampler.run).group_by(second)
        counted = {max(0, at): number for at, number in connection.execute(query)}
    marks = {
        phase.name.removeprefix("after kill -9 of "): phase.began - began for phase in sampler.phases[2:]
    }
    write_speeds(folder, "soak", speeds_of_seconds(counted), marks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=ROWS, help=f"default: {ROWS:,}")
    parser.add_argument("--workers", type=int, default=8, help="worker processes (default: 8)")
    parser.add_argument("--threads", type=int, default=8, help="threads of each (default: 8)")
    parser.add_argument("--no-kills", action="store_true", help="nothing is killed")
    parser.add_argument("--statements", action="store_true", help="count PostgreSQL's statements, by its log")
    parser.add_argument("--output", type=Path, default=Path("soak"), help="folder (default: soak)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
