"""The progress of a run while it goes on: a live table in a terminal, lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from producer.progress import text
from producer.progress.notebook import NotebookProgress, in_notebook
from producer.progress.status import Status

LINE_SECONDS = 10.0
# The same wait is told again after this time, then after twice as long, up to the longest pause.
REPEAT_SECONDS = 60.0
LONGEST_PAUSE = 3600.0
PROGRESS = "progress"


@contextmanager
def shown_progress(out: Console) -> Iterator[Callable[[Status], None]]:
    """Yield a function that shows a status; call it about every second. A notebook gets a progress bar."""
    if in_notebook():
        yield NotebookProgress().show
        return
    if out.is_terminal:
        with Live(console=out, transient=True, auto_refresh=False) as live:
            yield lambda status: live.update(text.progress(status), refresh=True)
        return
    yield PlainProgress(out.print).show


class PlainProgress:
    """A line of progress every LINE_SECONDS while anything moves, and a line for each wait when it begins. A
    wait that lasts is told again ever more rarely, and so is progress that stands still."""

    def __init__(self, print_line: Callable[[object], None]) -> None:
        self._print = print_line
        self._line_at = time.monotonic()
        self._moved: tuple[int, int] | None = None
        # The last time of each line, and the pause until the next.
        self._printed: dict[str, tuple[float, float]] = {}

    def show(self, status: Status) -> None:
        now = time.monotonic()
        if now - self._line_at > LINE_SECONDS:
            moved = (status.left, status.spending.calls)
            if moved != self._moved:
                self._printed.pop(PROGRESS, None)
            self._moved = moved
            if self._is_due(PROGRESS, now):
                self._line_at = now
                self._print(text.summary_line(status))
        for line in status.waits:
            if self._is_due(re.sub(r"\d+", "", line), now):  # numbers and times change all the time
                self._print(line)

    def _is_due(self, kind: str, now: float) -> bool:
        at, pause = self._printed.get(kind, (-REPEAT_SECONDS, REPEAT_SECONDS / 2))
        if now - at < pause:
            return False
        self._printed[kind] = (now, min(2 * pause, LONGEST_PAUSE))
        return True
