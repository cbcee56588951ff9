"""`python -m worker.celery_worker OPTIONS`: Celery's own worker, without what its other commands import.

OPTIONS are those of `celery -A worker worker`. Without any, it imports its code, and waits for one JSON
object on standard input: its options, working folder, log file and environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from models.adapters.start_up import importing

BROKER_SECONDS = 5.0


def main(options: list[str]) -> None:
    with importing():
        from celery.bin.base import CLIContext
        from celery.bin.worker import worker

        # Celery would import the first two next.
        from worker import process, tasks  # noqa: F401
        from worker.celery import app

        if not options:
            # Most runs ask a server, and their parent still plans.
            import aiohttp  # noqa: F401

            from models.adapters.backends import openai  # noqa: F401
    if not options:
        options = _wait_for_options()
    if options:
        wait_for_broker()
        context = CLIContext(app=app, no_color=True, workdir=None)
        worker.main(args=options, prog_name="worker", obj=context)


def _wait_for_options() -> list[str]:
    """Wait for the options, and take the place that the parent wants. Return none if it needs no worker."""
    text = sys.stdin.read()
    if not text:
        return []
    order = json.loads(text)
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    with Path(order["log"]).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    options: list[str] = order["options"]
    return options


def wait_for_broker() -> None:
    """Return once the broker accepts connections, or BROKER_SECONDS later. Celery that is refused one waits
    for two seconds, and a local Redis starts at the same time."""
    url = urlsplit(os.environ.get("STARMILL_REDIS_URL", ""))
    deadline = time.monotonic() + BROKER_SECONDS
    while url.hostname and time.monotonic() < deadline:
        try:
            socket.create_connection((url.hostname, url.port or 6379), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
