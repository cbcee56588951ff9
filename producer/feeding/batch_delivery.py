"""Delivery by batches: model calls that workers enqueued go to the provider in files, and come back answered.

Each step can be interrupted anywhere and repeated. An uploaded file is found again by its name, a batch by
the name in its metadata; storing an answer twice changes nothing. A thread of its own handles the batches, so
that the feeder does not wait for a file of 200 MB.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import tenacity

from models.adapters.backends.batch_api import (
    BatchClient,
    RemoteBatch,
    batch_endpoint,
    batch_line,
    parse_result_line,
)
from models.core.errors import AccessError, ModelError, RateLimited, TransportError, Unavailable
from models.core.pipeline.stages import train_slots
from models.core.types import Completion
from producer.feeding.batch_failures import BatchFailures
from storage.database import Database
from storage.ledger import batch_enqueue, batches, runs
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.batches import Batch
from storage.ledger.purchases import cost_nano_usd
from storage.ledger.runs import Run
from storage.logs import set_about
from storage.schema import GATHERED, REFUSED, SETTLED, SUBMITTED, UPLOADED
from storage.service_errors import cause, database_trouble
from storage.settings import load_settings

log = logging.getLogger(__name__)
# The provider takes 50,000 calls and 200 MB.
MAX_CALLS = 50_000
MAX_BYTES = 190_000_000
CHUNK = 500


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Times in seconds. A batch is submitted when nothing was enqueued for `quiet`, or for `patience` while
    more calls are expected. It is polled after a quarter of its age, between `min_poll` and `max_poll`.
    """

    quiet: float = 2.0
    patience: float = 30.0
    min_poll: float = 2.0
    max_poll: float = 60.0


class BatchDelivery:
    """The batches of one run, handled by the process that feeds it. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        db: Database,
        run: Run,
        client: BatchClient,
        clock: Callable[[], float] | None = None,
        timing: BatchTiming | None = None,
    ) -> None:
        self.db = db
        self.run = run
        self.client = client
        self.clock = clock or db.clock
        self.timing = timing or BatchTiming()
        # Units in these queues lead to calls of the teacher.
        self._queues = sorted({slot.queue for slot in train_slots(run.experiment)})
        self._max_calls = MAX_CALLS
        self._polled: dict[str, float] = {}
        self._failures = BatchFailures()
        self._submit_after = 0.0
        self._wake_after = 0.0

    def tick(self) -> None:
        """Move every batch on. Raise ModelError; after a TransportError another tick may succeed."""
        now = self.clock()
        batches.adopt_orphans(self.db, self.run.id, now)
        errors: list[TransportError] = []
        for batch in batches.unsettled(self.db, self.run.id):
            try:
                self._advance(batch)
            except TransportError as error:
                errors.append(error)  # other batches may succeed
        if now >= self._wake_after:
            batch_enqueue.release_unqueued(self.db, self.run.id)
            self._wake_after = now + self.timing.min_poll
        if errors:
            raise errors[0]
        self._submit(now)

    def _submit(self, now: float) -> None:
        if now < self._submit_after:
            return
        count, last = batches.enqueued(self.db, self.run.id)
        if not count or (count < self._max_calls and not self._is_quiet(now - last)):
            return
        name = f"starmill-{secrets.token_hex(8)}"
        batch = batches.create_batch(
            self.db, self.run.id, name, batch_endpoint, now, max_calls=self._max_calls, max_bytes=MAX_BYTES
        )
        if batch:
            self._advance(batch)

    def _is_quiet(self, seconds: float) -> bool:
        if seconds < self.timing.quiet:
            return False
        return seconds >= self.timing.patience or not batches.expects_more(self.db, self.run.id, self._queues)

    def _advance(self, batch: Batch) -> None:
        if batch.state == GATHERED:
            name = f"{batch.id}.jsonl"
            file = self.client.find_file(name, batch.created_at) or self._upload(name, batch)
            batch = batches.set_state(self.db, batch.id, UPLOADED, input_file=file)
        if batch.state == UPLOADED:
            remote = self.client.find_batch(batch.id, batch.created_at) or self.client.create(
                batch.id, batch.input_file or "", batch.endpoint
            )
            now = self.clock()
            batch = batches.set_state(self.db, batch.id, SUBMITTED, remote=remote, submitted_at=now)
            self._polled[batch.id] = now
        if self.clock() >= self._next_poll(batch):
            self._poll(batch)

    def _upload(self, name: str, batch: Batch) -> str:
        with tempfile.TemporaryFile() as file:
            file.writelines(
                batch_line(key, request, self.client.address.url)
                for key, request in batches.batch_requests(self.db, batch.id)
            )
            file.seek(0)
            return self.client.upload(name, file)

    def _next_poll(self, batch: Batch) -> float:
        if batch.id not in self._polled:
            return 0.0
        last = self._polled[batch.id]
        age = last - (batch.submitted_at or last)
        return last + min(self.timing.max_poll, max(self.timing.min_poll, age / 4))

    def _poll(self, batch: Batch) -> None:
        remote = self.client.retrieve(batch.remote or "")
        if remote.status == "failed":
            self._close_failed(batch, remote)
        elif remote.ended:
            self._fetch(batch, remote)
        self._polled[batch.id] = self.clock()

    def _fetch(self, batch: Batch, remote: RemoteBatch) -> None:
        """Store the answers. Those of an expired or cancelled batch count like any others."""
        denied: AccessError | None = None
        self._failures.begin(completed=remote.status == "completed")
        for file in remote.files:
            for lines in _chunks(self.client.lines(file)):
                denied = self._settle(lines) or denied
        missing = self._failures.missing(batches.unanswered(self.db, batch.id), remote.id)
        batches.store_refusals(self.db, missing, self.clock())
        closed = batches.close_batch(self.db, batch.id, SETTLED, remote.status, self.clock())
        if denied:
            raise denied
        self._max_calls = min(MAX_CALLS, 2 * self._max_calls)
        left = closed.requests - closed.answered - closed.refused
        if left:
            log.warning("batch %s: %s, %d of %d calls are asked again", remote.id, remote.status, left,
                        closed.requests)  # fmt: skip
        if left == closed.requests:
            self._submit_after = self.clock() + self.timing.max_poll

    def _settle(self, lines: Iterable[bytes]) -> AccessError | None:
        """Store a chunk. Return an error of access, if a line holds one; its call is enqueued again."""
        answers: list[tuple[str, Completion]] = []
        refusals: list[tuple[str, BatchRefusal]] = []
        denied: AccessError | None = None
        price, lost = self.run.experiment.model("teacher").price, 0
        for line in lines:
            try:
                key, outcome = parse_result_line(line, self.client.address)
            except TransportError as unreadable:
                log.warning("%s", unreadable)
                continue
            if isinstance(outcome, Completion):
                answers.append((key, outcome))
                continue
            if isinstance(outcome, AccessError):
                denied = outcome
            elif refusal := self._failures.refusal(key, outcome):
                refusals.append((key, refusal))
            if isinstance(outcome, Unavailable) and outcome.usage:
                lost += cost_nano_usd(outcome.usage, price)
        now = self.clock()
        if lost:
            batches.add_lost(self.db, self.run.id, lost)
        batches.store_answers(self.db, answers, price, now)
        batches.store_refusals(self.db, refusals, now)
        return denied

    def _close_failed(self, batch: Batch, remote: RemoteBatch) -> None:
        """Close a batch that the provider refused. Nothing is paid; its calls are enqueued again."""
        batches.close_batch(self.db, batch.id, REFUSED, remote.message, self.clock())
        message = (
            f"{self.client.address}: batch {remote.id} failed: {remote.message or 'no reason was given'}"
        )
        if not remote.queue_is_full:
            raise AccessError(f"{message}; mend what it names before the run goes on")
        log.warning("%s; trying again later, with fewer calls", message)
        self._max_calls = max(1, batch.requests // 2)
        self._submit_after = self.clock() + self.timing.max_poll


def _chunks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


TICK_SECONDS = 0.5
STOP_SECONDS = 10.0
_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=60)


@contextmanager
def deliver_batches(db: Database, run: Run) -> Iterator[None]:
    """Deliver batches of the run within the block, if its teacher takes them."""
    if not run.experiment.teacher or run.experiment.teacher.delivery != "batch":
        yield
        return
    stop = threading.Event()
    # A daemon: all it does can be cut off, so it must not keep the process alive.
    thread = threading.Thread(target=_deliver, args=(db, run, stop), name="batches", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_SECONDS)


def _deliver(db: Database, run: Run, stop: threading.Event) -> None:
    set_about(run=run.id)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_passing),
        wait=_wait,
        sleep=tenacity.sleep_using_event(stop),
        stop=tenacity.stop_when_event_set(stop),
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        _tick_until(stop, db, run, retrying)
    except Exception as error:
        if _is_passing(error):
            log.info("stopped while waiting: %s", cause(error))
            return
        message = str(error)
        if not isinstance(error, ModelError):
            log.exception("run %s: its batches cannot be looked after", run.id)
            message = f"batches broke: {type(error).__name__}: {cause(error)}"
        retrying(runs.stop_run, db, run.id, message, paused=True)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, TransportError) or bool(database_trouble(error))


def _tick_until(stop: threading.Event, db: Database, run: Run, retrying: tenacity.Retrying) -> None:
    assert run.experiment.teacher
    client = BatchClient(run.experiment.teacher, load_settings().allowed_hosts)
    try:
        delivery = BatchDelivery(db, run, client)
        while not stop.wait(TICK_SECONDS):
            retrying(delivery.tick)
    finally:
        client.close()


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds to wait. Retry-After wins."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return error.retry_after
    return _backoff(state)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    trouble = error and (database_trouble(error) or cause(error))
    log.warning("batches: %s; trying again in %.1f s", trouble, state.upcoming_sleep)
