"""Child processes that end with this one, and a worker that imports its code before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
# -P keeps modules of the working folder out, and `starmill` other packages, whatever their names.
_START = "import starmill, sys; from worker.celery_worker import main; main(sys.argv[1:])"
WORKER = [sys.executable, "-P", "-c", _START]
_early: list[subprocess.Popen[bytes]] = []


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command such that it ends with this process. Linux only; elsewhere the next run stops it."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(os.getpid()), *command]


def start_early_worker() -> None:
    """Start a worker that imports its code, and waits to be told its options."""
    _early.append(
        subprocess.Popen(
            dying_with_parent(WORKER), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
    )  # fmt: skip


def use_early_worker(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes] | None:
    """Tell the early worker to become `command`. Return None if there is none, or this is another command."""
    if list(command[: len(WORKER)]) != WORKER or not _early:
        return None
    process = _early.pop()
    order = {"options": list(command[len(WORKER) :]), "folder": str(folder), "log": str(log),
            "environment": dict(environment)}  # fmt: skip
    assert process.stdin
    try:
        with process.stdin as options:
            options.write(json.dumps(order).encode())
    except OSError:  # it has ended
        process.kill()
        process.wait()
        return None
    return process


def stop_early_worker() -> None:
    """End the early worker, if nobody needed it."""
    while _early:
        with _early.pop() as process:
            process.kill()
