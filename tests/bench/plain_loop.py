"""Runs the plain loop in a process of its own, and measures it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import Load
from tests.bench.measured import Measured, measured
from tests.bench.plain import GATE, READY, read_checkpoint
from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.pipeline import wait_until


def plain(load: Load, server: OpenAIServer, folder: Path) -> Measured:
    """Undisturbed, from the first call to the last line of the checkpoint."""
    with plain_started(load, server, folder) as process:
        return plain_ended(load, server, folder, process)


@contextmanager
def plain_started(load: Load, server: OpenAIServer, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Warm, and just let go."""
    server.configure()
    folder.mkdir(parents=True, exist_ok=True)
    with plain_process(load, server, folder) as process:
        wait_until((folder / READY).exists, "the plain loop is ready")
        server.configure(**load.behaviour)
        server.forget()
        (folder / GATE).touch()
        yield process


@contextmanager
def plain_process(load: Load, server: OpenAIServer, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.plain", server.url, str(folder),
               "--calls", str(load.calls), "--concurrency", str(load.concurrency)]  # fmt: skip
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def plain_ended(
    load: Load, server: OpenAIServer, folder: Path, process: subprocess.Popen[str], began: float | None = None
) -> Measured:
    """`began` is on the monotonic clock, where an earlier process did; the rest is that of this one."""
    stderr, _ = process.communicate(timeout=load.patience)
    own = json.loads(stderr)
    texts = read_checkpoint(folder).values()
    return measured(
        load, server.stats(), finished=len(texts), null=sum(not text for text in texts),
        wall=own["wall"] if began is None else time.monotonic() - began,
        peak_mb=own["peak"], cpu_s_per_1000=own["cpu"] * 1000 / load.calls,
    )  # fmt: skip
