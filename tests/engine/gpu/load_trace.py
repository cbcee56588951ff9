"""How full a worker's engine was over time, as it reports every two seconds."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.adapters.backends import engine_identity
from storage.ledger.engines import EngineReading, engine_readings
from tests.engine.grid import Grid
from tests.support.pipeline import wait_until

LOOK_SECONDS = 0.5
REPORTED_WITHIN = 60.0
WIDTH, HEIGHT = 640, 160


class LoadTrace:
    """The readings of the one engine of a run's student, oldest first."""

    def __init__(self, grid: Grid) -> None:
        self._db = grid.db
        self._identity = engine_identity(grid.run.experiment.students[0])
        self.readings: list[EngineReading] = []
        self.look()

    def look(self) -> None:
        # Readings of workers that are gone stay in the ledger.
        found = engine_readings(self._db, [self._identity], 0.0)
        newest = max(found, key=lambda reading: reading.updated_at, default=None)
        if newest and (not self.readings or newest.updated_at > self.readings[-1].updated_at):
            self.readings.append(newest)

    def wait_for_tokens(self, tokens: int) -> None:
        """Return when what was answered is reported; the last report may be two seconds old."""
        before = self.readings[0].load.usage.completion if self.readings else 0

        def reported() -> bool:
            self.look()
            return bool(self.readings) and self.readings[-1].load.usage.completion - before >= tokens

        wait_until(reported, "the engine's load is reported", REPORTED_WITHIN)

    def occupancy(self) -> float:
        """Return the mean share of the engine in use while it had any request."""
        first, last = self.readings[0].load, self.readings[-1].load
        busy = last.busy_seconds - first.busy_seconds
        return (last.sequence_seconds - first.sequence_seconds) / (last.capacity * busy) if busy else 0.0

    def shares(self) -> list[tuple[float, float, int, int]]:
        """Return seconds, mean share in use since the reading before, running and waiting of each reading."""
        start, rows = self.readings[0].updated_at, []
        for earlier, later in zip(self.readings, self.readings[1:], strict=False):
            seconds = later.updated_at - earlier.updated_at
            used = later.load.sequence_seconds - earlier.load.sequence_seconds
            share = used / (later.load.capacity * seconds)
            rows.append(
                (round(later.updated_at - start, 2), round(share, 4), later.load.running, later.load.waiting)
            )
        return rows

    def write(self, path: Path) -> None:
        """Write the shares as CSV, and as a picture beside it."""
        rows = self.shares()
        with path.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["seconds", "share_in_use", "running", "waiting"])
            writer.writerows(rows)
        path.with_suffix(".svg").write_text(_picture([(seconds, share) for seconds, share, *_ in rows]))


@contextmanager
def traced(grid: Grid) -> Iterator[LoadTrace]:
    """Look at the load until the block is left."""
    trace, ended = LoadTrace(grid), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            trace.look()

    thread = threading.Thread(target=watch, name="load trace")
    thread.start()
    try:
        yield trace
    finally:
        ended.set()
        thread.join()


def _picture(points: Sequence[tuple[float, float]]) -> str:
    longest = max((seconds for seconds, _ in points), default=1.0)
    line = " ".join(
        f"{40 + seconds / longest * (WIDTH - 50):.1f},{10 + (1 - min(1.0, share)) * (HEIGHT - 40):.1f}"
        for seconds, share in points
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect x="40" y="10" width="{WIDTH - 50}" height="{HEIGHT - 40}" fill="none" stroke="#999"/>'
        f'<polyline fill="none" stroke="#06c" stroke-width="1.5" points="{line}"/>'
        f'<text x="4" y="16">100 %</text><text x="16" y="{HEIGHT - 28}">0 %</text>'
        f'<text x="40" y="{HEIGHT - 8}">sequences in use, over {longest:.0f} s</text></svg>\n'
    )
