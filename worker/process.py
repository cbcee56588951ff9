"""The start and the stop of a worker process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_init, worker_shutdown, worker_shutting_down
from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from models.adapters.private_files import PRIVATE_UMASK
from models.core.display import visible
from models.core.errors import StarmillError
from storage.broker import EXIT_UNUSABLE, UNUSABLE_PREFIX, celery_settings
from storage.logs import configure_logging
from storage.service_errors import cause, database_refusal
from storage.settings import load_settings
from worker import tracing
from worker.patient_consumer import WithoutRepetition
from worker.runtime import Runtime
from worker.wake_up import wake

# Names on the command line, and of the module that Celery makes of one.
POOLS = ("threads", "thread", "solo")
_lock = threading.Lock()
_open: list[Runtime] = []


def runtime() -> Runtime:
    """Return the one runtime of this process; open it if there is none."""
    with _lock:
        if not _open:
            _open.append(Runtime(load_settings(), _stop_unusable_worker))
        return _open[0]


def _configure_logging(sender: str = "", **_: Any) -> None:
    """`sender` is the name of the worker."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, sender)
    for handler in logging.getLogger().handlers:
        handler.addFilter(WithoutRepetition())


def _leave_logs(**_: Any) -> None:
    """Keep Celery from configuring logging, as any receiver of this signal does."""


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
    os.umask(PRIVATE_UMASK)
    tracing.open_tracing(str(getattr(sender, "hostname", "")))
    try:
        opened = runtime()
        opened.check()
        opened.wait_for(opened.take_in_answers())
    except StarmillError as error:
        _exit_unusable(str(error))
    except SQLAlchemyError as error:
        _exit_unusable(database_refusal(error) or f"the ledger cannot be used: {cause(error)}")
    if sender is not None:
        opened.queues = lambda: list(sender.app.amqp.queues.consume_from)


def _begin_stop(**_: Any) -> None:
    for opened in _open:
        opened.begin_stop()
    wake()


def _close(**_: Any) -> None:
    with _lock:
        while _open:
            opened = _open.pop()
            opened.close()
            if opened.unusable:
                sys.stderr.write(f"{UNUSABLE_PREFIX}{visible(opened.unusable)}\n")
    tracing.close_tracing()


def _stop_unusable_worker() -> None:
    """Begin a warm stop, like SIGTERM does."""
    state.should_stop = EXIT_UNUSABLE
    wake()


def _exit_unusable(message: str) -> None:
    logging.shutdown()
    sys.stderr.write(f"{UNUSABLE_PREFIX}{visible(message)}\n")
    raise SystemExit(2)


# Celery keeps weak references to receivers, so receivers are functions of this module.
celeryd_init.connect(_configure_logging)
celeryd_init.connect(_check_options)
setup_logging.connect(_leave_logs)
worker_init.connect(_start)
worker_shutting_down.connect(_begin_stop)
worker_shutdown.connect(_close)
