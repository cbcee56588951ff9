"""Batches are looked after in a thread of their own: the feeder does not wait for a file of 200 MB."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from models.backends.batches import BatchClient
from models.errors import ModelError, RateLimited, TransportError
from producer.feeding.batch import BatchDelivery
from storage.database import Database
from storage.ledger import planning
from storage.ledger.planning import Run
from storage.logs import set_about

log = logging.getLogger(__name__)
TICK_SECONDS = 0.5
STOP_SECONDS = 10.0
MENDS_ITSELF = (TransportError, OperationalError, InterfaceError)
_backoff = wait_random_exponential(multiplier=0.5, max=60)


@contextmanager
def delivering(db: Database, run: Run) -> Iterator[None]:
    """Within the block, batches of the run go out and come in, if that is how its teacher is asked."""
    if run.experiment.teacher.delivery != "batch":
        yield
        return
    stop = threading.Event()
    # Whatever it does can be cut off: it must not keep a process alive that wants to end.
    thread = threading.Thread(target=_deliver, args=(db, run, stop), name="batches", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_SECONDS)


def _deliver(db: Database, run: Run, stop: threading.Event) -> None:
    set_about(run=run.id)
    patient = Retrying(
        retry=retry_if_exception_type(MENDS_ITSELF),
        wait=_wait,
        sleep=sleep_using_event(stop),
        stop=stop_when_event_set(stop),
        before_sleep=_complain,
        reraise=True,
    )
    try:
        _tick_until(stop, db, run, patient)
    except MENDS_ITSELF as error:
        log.info("stopped while waiting: %s", error)
    except ModelError as error:
        patient(planning.stop_run, db, run.id, str(error), paused=True)
    except Exception as error:
        log.exception("run %s: its batches cannot be looked after", run.id)
        said = f"{type(error).__name__}: {error}"
        patient(planning.stop_run, db, run.id, f"batches broke: {said}", paused=True)


def _tick_until(stop: threading.Event, db: Database, run: Run, patient: Retrying) -> None:
    client = BatchClient(run.experiment.teacher)
    try:
        delivery = BatchDelivery(db, run, client)
        while not stop.wait(TICK_SECONDS):
            patient(delivery.tick)
    finally:
        client.close()


def _wait(state: RetryCallState) -> float:
    """Seconds. Retry-After is taken at its word."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return error.retry_after
    return _backoff(state)


def _complain(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    cause = getattr(error, "orig", error)
    log.warning("batches: %s; trying again in %.1f s", cause, state.upcoming_sleep)
