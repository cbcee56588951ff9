"""python -m tests.bench.producing FOLDER ROWS SECONDS: what `starmill run` does beside its workers.

Reads a dataset of ROWS train rows, of four units each, and two test rows, of two; plans a run of it and
feeds it for SECONDS. Prints what it took as one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from producer.cli.common import open_ledger
from producer.experiments.datasets import read_dataset
from producer.feeding.interrupts import StopSignal
from producer.feeding.run_loop import feed_or_watch
from storage.ledger import runs
from storage.settings import load_settings
from tests.bench.experiment import examples, experiment
from tests.bench.load import Load
from tests.bench.measured import cpu_seconds, peak_megabytes

RUN = "million"


def main() -> None:
    folder, rows, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _write(folder / "train.jsonl", rows)
    _write(folder / "test.jsonl", 2)
    dataset = {"path": str(folder), "train": "train.jsonl", "test": "test.jsonl"}
    asked = experiment(Load(rows), "http://127.0.0.1:9/v1", dataset=dataset, rationale={"passes": 1})
    settings = load_settings()
    with open_ledger(settings) as db:
        started, cpu = time.monotonic(), cpu_seconds()
        run = runs.plan_run(db, RUN, asked, read_dataset(asked), time.time())
        planned = time.monotonic()
        with suppress(KeyboardInterrupt), StopSignal() as stop:
            threading.Timer(seconds, _ask_to_stop, [stop]).start()
            feed_or_watch(db, run, settings, None, lambda _status: None, stop)
    values = {
        "units": run.planned,
        "planning_s": planned - started,
        "units_per_s": run.planned / (planned - started),
        "producer_cpu_s": cpu_seconds() - cpu,
        "producer_mb": peak_megabytes(),
    }
    json.dump(values, sys.stdout)


def _write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for start in range(0, rows, 1000):
            for example in examples(min(1000, rows - start), f"{path.stem}{start}"):
                lines.write(json.dumps({"request": example.request, "reference": example.reference}) + "\n")


def _ask_to_stop(stop: StopSignal) -> None:
    stop.requested = True


if __name__ == "__main__":
    main()
