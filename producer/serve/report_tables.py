"""The tables of a run so far, made by a process of its own: what a report takes of memory goes with it.

python -m producer.serve.report_tables RUN STEM: writes the tables of a run as a part of a page to STEM.part
and the whole report as a page to STEM.html.
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

from models.core.errors import StarmillError
from producer.cli.common import open_ledger
from producer.files import replacing_file
from producer.results.report.build import build_report
from producer.results.report.html.page import render_html, tables
from storage.ledger import runs
from storage.ledger.counts import RunLine
from storage.schema import FINISHED

MIN_REST = 20.0
REST = 10.0
MAX_KEPT = 32


@dataclass(frozen=True, slots=True)
class Tables:
    """`html` is a part of a page, `report` the file of the whole one; `ended` is of the steady clock."""

    line: RunLine
    html: str
    report: Path
    at: float
    seconds: float
    ended: float


class TableMaker:
    """One report at a time, and in all no more than a tenth of the time. `folder` is for its files."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._known: OrderedDict[str, Tables] = OrderedDict()
        self._making: asyncio.Task[None] | None = None
        self._rest_until = 0.0

    def known(self, run_id: str) -> Tables | None:
        return self._known.get(run_id)

    def begin(self, line: RunLine) -> None:
        """Have them made, if that is due and no others are being made."""
        known = self._known.get(line.id)
        if self._making or self._clock() < self._rest_until or (known and not self._is_due(known, line)):
            return
        self._making = asyncio.get_running_loop().create_task(self._make(line))

    async def made(self) -> None:
        """Return when those that are being made are there."""
        if self._making:
            await asyncio.shield(self._making)

    async def close(self) -> None:
        if self._making:
            self._making.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._making

    def _is_due(self, known: Tables, line: RunLine) -> bool:
        if known.line == line and line.state == FINISHED:
            return False
        return self._clock() - known.ended >= MIN_REST

    async def _make(self, line: RunLine) -> None:
        began, now = self._clock(), time.time()
        stem = self._folder / sha256(line.id.encode()).hexdigest()
        try:
            if await _run_process(line.id, stem):
                html = stem.with_suffix(".part").read_text("utf-8")
                ended = self._clock()
                self._keep(Tables(line, html, stem.with_suffix(".html"), now, ended - began, ended))
        finally:
            # Also after a failure: it would take as long again.
            self._rest_until = self._clock() + REST * (self._clock() - began)
            self._making = None

    def _keep(self, tables: Tables) -> None:
        self._known[tables.line.id] = tables
        self._known.move_to_end(tables.line.id)
        while len(self._known) > MAX_KEPT:
            _, oldest = self._known.popitem(last=False)
            oldest.report.unlink(missing_ok=True)


async def _run_process(run_id: str, stem: Path) -> bool:
    """Whether the files were written; the process has told on standard error why not."""
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
    """The exit code."""
    run_id, stem = arguments
    os.nice(NICE)  # workers and feeder come first
    try:
        with open_ledger() as db:
            report = build_report(db, runs.load_run(db, run_id))
    except StarmillError as error:
        sys.stderr.write(f"starmill serve: no tables of {run_id}: {error}\n")
        return 2
    for suffix, text in ((".html", render_html(report)), (".part", tables(report))):
        with replacing_file(Path(stem + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
