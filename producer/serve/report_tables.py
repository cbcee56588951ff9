"""The tables of a run so far, made by a process of its own, so that its memory is freed when it ends.

`python -m producer.serve.report_tables RUN STEM` writes the tables as a part of a page to STEM.part, and the
whole report as a page to STEM.html.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from models.core.display import visible
from models.core.errors import StarmillError
from producer.cli.common import open_ledger
from producer.files import replacing_file
from producer.results.report.build import build_report
from producer.results.report.html.page import render_fragment, render_html
from storage.ledger import runs
from storage.ledger.counts import RunSummary
from storage.schema import FINISHED

MIN_REST = 20.0
REST = 10.0
MAX_KEPT = 32


@dataclass(frozen=True, slots=True)
class Tables:
    """A part of a page, and the file of the whole report. `ended` is a time of the steady clock."""

    run: RunSummary
    html: str
    report: Path
    at: float
    seconds: float
    ended: float


class TableMaker:
    """Makes one report at a time, for at most a tenth of the time. `folder` is for its files."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._known: OrderedDict[str, Tables] = OrderedDict()
        self._making: asyncio.Task[None] | None = None
        self._rest_until = 0.0

    def known(self, run_id: str) -> Tables | None:
        return self._known.get(run_id)

    def begin(self, run: RunSummary) -> None:
        """Begin to make the tables, if that is due and no others are being made."""
        known = self._known.get(run.id)
        if self._making or self._clock() < self._rest_until or (known and not self._is_due(known, run)):
            return
        self._making = asyncio.get_running_loop().create_task(self._make(run))

    async def finished(self) -> None:
        """Return when the tables that are being made are there."""
        if self._making:
            await asyncio.shield(self._making)

    async def close(self) -> None:
        if self._making:
            self._making.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._making

    def _is_due(self, known: Tables, run: RunSummary) -> bool:
        if known.run == run and run.state == FINISHED:
            return False
        return self._clock() - known.ended >= MIN_REST

    async def _make(self, run: RunSummary) -> None:
        began, now = self._clock(), time.time()
        stem = self._folder / sha256(run.id.encode()).hexdigest()
        try:
            if await _run_process(run.id, stem):
                html = stem.with_suffix(".part").read_text("utf-8")
                ended = self._clock()
                self._keep(Tables(run, html, stem.with_suffix(".html"), now, ended - began, ended))
        finally:
            # Rest after a failure, too: the next try takes as long.
            self._rest_until = self._clock() + REST * (self._clock() - began)
            self._making = None

    def _keep(self, tables: Tables) -> None:
        self._known[tables.run.id] = tables
        self._known.move_to_end(tables.run.id)
        while len(self._known) > MAX_KEPT:
            _, oldest = self._known.popitem(last=False)
            oldest.report.unlink(missing_ok=True)


async def _run_process(run_id: str, stem: Path) -> bool:
    """Return whether the files were written. If not, the process has printed why."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "producer.serve.report_tables", run_id, str(stem),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


NICE = 10


def main(arguments: Sequence[str]) -> int:
    """Write the files. Return the exit code."""
    run_id, stem = arguments
    os.nice(NICE)  # workers and feeder come first
    try:
        with open_ledger() as db:
            report = build_report(db, runs.load_run(db, run_id), page=True)
    except StarmillError as error:
        sys.stderr.write(f"starmill serve: no tables of {run_id}: {visible(str(error))}\n")
        return 2
    for suffix, text in ((".html", render_html(report)), (".part", render_fragment(report))):
        with replacing_file(Path(stem + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
