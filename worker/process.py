"""What a worker process opens when it starts, and closes when it stops."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_init, worker_shutdown, worker_shutting_down
from celery.worker import state

from models.core.errors import StarmillError
from storage.broker import UNFIT, UNFIT_SAYS, celery_settings
from storage.logs import configure_logging
from storage.settings import load_settings
from worker import tracing
from worker.runtime import Runtime

# As named on the command line, and as the module that Celery makes of it.
POOLS = ("threads", "thread", "solo")
_lock = threading.Lock()
_open: list[Runtime] = []


def runtime() -> Runtime:
    """The one runtime of this process."""
    with _lock:
        if not _open:
            _open.append(Runtime(load_settings(), _stop_worker))
        return _open[0]


def _log(sender: str = "", **_: Any) -> None:
    """`sender` is the name of the worker."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, sender)


def _leave_logs(**_: Any) -> None:
    """Where something hears this signal, Celery sets up no logging of its own."""


def _check_options(
    instance: Any = None, conf: Any = None, options: dict[str, Any] | None = None, **_: Any
) -> None:
    given = options or {}
    pool = given.get("pool", "prefork")
    name = pool if isinstance(pool, str) else pool.__module__.rpartition(".")[2]
    if name not in POOLS:
        _exit_unusable(
            f"a worker runs with -P threads (found: {name}); "
            "prefork cannot share one event loop or one engine, gevent loses messages"
        )
    if conf is not None and given.get("concurrency"):
        settings = celery_settings(load_settings(), int(given["concurrency"]))
        conf.broker_transport_options = settings["broker_transport_options"]


def _start(sender: Any = None, **_: Any) -> None:
    tracing.open_tracing(str(getattr(sender, "hostname", "")))
    try:
        runtime().check()
    except StarmillError as error:
        _exit_unusable(str(error))


def _stop_waiting(**_: Any) -> None:
    """Calls in flight are finished; units that only wait for a server go back."""
    for opened in _open:
        opened.stop_waiting()


def _close(**_: Any) -> None:
    _close_runtime()
    tracing.close_tracing()


def _close_runtime() -> None:
    with _lock:
        while _open:
            opened = _open.pop()
            opened.close()
            if opened.unfit:
                sys.stderr.write(f"{UNFIT_SAYS}{opened.unfit}\n")


def _stop_worker() -> None:
    """A warm stop, as after SIGTERM."""
    state.should_stop = UNFIT


def _exit_unusable(message: str) -> None:
    logging.shutdown()
    sys.stderr.write(f"{UNFIT_SAYS}{message}\n")
    raise SystemExit(2)


# Celery keeps weak references to receivers: these functions live as long as the module.
celeryd_init.connect(_log)
celeryd_init.connect(_check_options)
setup_logging.connect(_leave_logs)
worker_init.connect(_start)
worker_shutting_down.connect(_stop_waiting)
worker_shutdown.connect(_close)
