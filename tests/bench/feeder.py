"""python -m tests.bench.feeder RUN FOLDER: feeds a run as `starmill run` does, once FOLDER/gate is there."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from producer.cli.common import open_ledger
from producer.feeding.interrupts import StopSignal
from producer.feeding.run_loop import feed_or_watch
from storage.ledger import runs
from storage.settings import load_settings
from tests.bench.plain import GATE, READY


def main() -> None:
    run_id, folder = sys.argv[1], Path(sys.argv[2])
    settings = load_settings()
    with suppress(KeyboardInterrupt), StopSignal() as stop, open_ledger(settings) as db:
        run = runs.load_run(db, run_id)
        (folder / READY).touch()
        while not (folder / GATE).exists():
            time.sleep(0.01)
        feed_or_watch(db, run, settings, None, lambda _status: None, stop)
        while True:  # a feeder that ends is started again, and a paused run would go on
            stop.check()
            time.sleep(0.05)


if __name__ == "__main__":
    main()
