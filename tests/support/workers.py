"""Celery workers as users start them, for tests whose runs are not local."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.openai_server.process import REPOSITORY
from tests.support.pipeline import Home

EVERY_QUEUE = ("model.large", "retrieve", "judge", "model.small")


@contextmanager
def celery_worker(
    home: Home,
    queues: Sequence[str] = EVERY_QUEUE,
    threads: int = 4,
    name: str = "w",
    inside: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Its log lies beside the home. `inside` are words that put it elsewhere: `ip netns exec HOST`."""
    command = [
        *inside, sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", ",".join(queues),
        "-P", "threads", "-c", str(threads), "-n", f"{name}@%h", "-l", "WARNING",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    environment = home.environment | {"PYTHONPATH": str(REPOSITORY)}
    log = home.path.with_name(f"worker-{name}.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=home.path.parent, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
