"""`starmill worker`: a worker for the broker of this home."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from producer.cli.common import open_ledger
from producer.local.home_services import home_services
from storage.broker import Queues
from storage.settings import Settings, load_settings

THREADS = 24


def worker(
    queues: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUEUE]...", help="default: all that running runs need, also later ones"),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("-c", min=1, max=512, metavar="N", help="tasks in hand at once")
    ] = THREADS,
) -> None:
    """Execute units of runs, also of a `--local` run of this home. Ctrl-C finishes what is in hand."""
    settings = home_services(load_settings())
    Queues(settings.broker).check()
    with open_ledger(settings):
        pass  # a worker needs its tables
    # In place of this process, so that signals reach the worker.
    command = worker_command(queues or [], concurrency)
    os.execve(command[0], command, os.environ | worker_environment(settings))  # noqa: S606 (no shell is wanted)


def worker_command(queues: list[str], threads: int) -> list[str]:
    """Return Celery's command. -P keeps modules of the working folder out, whatever their names."""
    served = ["-Q", ",".join(queues)] if queues else ["--follow-runs"]
    name = queues[0] if len(queues) == 1 else "worker"
    return [
        sys.executable, "-P", "-m", "celery", "-A", "starmill", "worker", *served, "-P", "threads",
        "-c", str(threads), "-n", f"{name}.{os.getpid()}@%h", "--without-gossip", "--without-mingle",
    ]  # fmt: skip


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that name the services of this home."""
    urls = {"STARMILL_REDIS_URL": settings.broker, "STARMILL_HOME": str(settings.root)}
    if settings.embedded_url:
        urls["STARMILL_EMBEDDED_URL"] = settings.embedded_url
    return urls
