"""A plugin of vLLM: its processes end when the process that started them is gone.

Without it the engine of a worker that was killed would hold its GPU for ever. vLLM finds it by its entry
point.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Called by vLLM in each of its processes."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()
