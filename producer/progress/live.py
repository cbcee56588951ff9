"""The progress of a run while it goes on: a live table in a terminal, lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from producer.progress import text
from producer.progress.status import Status

LINE_SECONDS = 10.0
# The same wait is told again after this time.
REPEAT_SECONDS = 60.0


@contextmanager
def shown_progress(out: Console) -> Iterator[Callable[[Status], None]]:
    """Yield a function that shows a status; call it about every second."""
    if out.is_terminal:
        with Live(console=out, transient=True, auto_refresh=False) as live:
            yield lambda status: live.update(text.progress(status), refresh=True)
        return
    yield PlainProgress(out.print).show


class PlainProgress:
    """A line of progress every LINE_SECONDS, and a line for each wait when it begins and then each minute."""

    def __init__(self, print_line: Callable[[object], None]) -> None:
        self._print = print_line
        self._line_at = time.monotonic()
        self._told_at: dict[str, float] = {}

    def show(self, status: Status) -> None:
        now = time.monotonic()
        if now - self._line_at > LINE_SECONDS:
            self._line_at = now
            self._print(text.summary_line(status))
        for line in status.waits:
            kind = re.sub(r"\d+", "", line)  # numbers and times change all the time
            if now - self._told_at.get(kind, -REPEAT_SECONDS) >= REPEAT_SECONDS:
                self._told_at[kind] = now
                self._print(line)
