"""Handle Ctrl-C and SIGTERM between two ticks of the feeder, not in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """The signals raise KeyboardInterrupt: the first one at `check` while `deferred`, all others at once.

    Only the main thread can catch signals; in another nothing is caught.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self.requested = False
        self._signals = signals
        self._deferring = False

    def check(self) -> None:
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def __enter__(self) -> Self:
        caught = self._signals if threading.current_thread() is threading.main_thread() else ()
        self._previous = {each: signal.signal(each, self._handle) for each in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._deferring and not self.requested:
            self.requested = True
            return
        raise KeyboardInterrupt
