"""Make a process start and end sooner."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import within the block: the garbage collector waits, and never looks at what was imported.

    To walk the objects of some thousand modules again and again takes a third of the processor time of a
    start, and of the end of a process, which looks for garbage once more.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
    atexit.register(gc.freeze)
