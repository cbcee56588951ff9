"""The other delivery: calls that workers filed go to the provider in batches, and come back answered.

Each step can be cut off anywhere and taken again. A file that is up is found by its name, a batch that was
made by the name in its metadata; to store an answer twice changes nothing.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from models.backends.batch_lines import endpoint_of, line_of, outcome_of
from models.backends.batches import BatchClient, Remote
from models.errors import AccessError, BadRequest, TransportError
from models.stages import train_slots
from models.types import Completion
from storage.database import Database
from storage.ledger import batches, filing, settling
from storage.ledger.batches import Batch
from storage.ledger.filing import Refusal
from storage.ledger.planning import Run
from storage.schema import GATHERED, REFUSED, SETTLED, SUBMITTED, UPLOADED

log = logging.getLogger(__name__)
# The provider takes 50,000 calls and 200 MB.
MOST_CALLS = 50_000
MOST_BYTES = 190_000_000
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds. A batch is submitted when for `quiet` nothing more was filed for it; for `patience`, while
    more is expected. It is asked after again when a quarter of its age has passed, at least `soonest`, at
    most `latest`."""

    quiet: float = 2.0
    patience: float = 30.0
    soonest: float = 2.0
    latest: float = 60.0


class BatchDelivery:
    """Of one run, by the process that feeds it; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        db: Database,
        run: Run,
        client: BatchClient,
        clock: Callable[[], float] = time.time,
        rhythm: Rhythm | None = None,
    ) -> None:
        self.db = db
        self.run = run
        self.client = client
        self.clock = clock
        self.rhythm = rhythm or Rhythm()
        # What is in these queues is asked of the teacher, or leads to it.
        self._feeding = sorted({slot.queue for slot in train_slots(run.experiment)})
        self._most = MOST_CALLS
        self._looked: dict[str, float] = {}
        self._submit_after = 0.0
        self._wake_after = 0.0

    def tick(self) -> None:
        """Take every batch as far as it can go. Raises ModelError, a TransportError where another tick
        may succeed."""
        now = self.clock()
        batches.adopt(self.db, self.run.id, now)
        troubles: list[TransportError] = []
        for batch in batches.unsettled(self.db, self.run.id):
            try:
                self._advance(batch)
            except TransportError as trouble:
                # The others may be luckier.
                troubles.append(trouble)
        if now >= self._wake_after:
            filing.wake(self.db, self.run.id)
            self._wake_after = now + self.rhythm.soonest
        if troubles:
            raise troubles[0]
        self._submit(now)

    def _submit(self, now: float) -> None:
        if now < self._submit_after:
            return
        count, last = batches.filed(self.db, self.run.id)
        if not count or (count < self._most and not self._is_quiet(now - last)):
            return
        name = f"starmill-{secrets.token_hex(8)}"
        batch = batches.gather(
            self.db, self.run.id, name, endpoint_of, now, most=self._most, most_bytes=MOST_BYTES
        )
        if batch:
            self._advance(batch)

    def _is_quiet(self, seconds: float) -> bool:
        if seconds < self.rhythm.quiet:
            return False
        return seconds >= self.rhythm.patience or not batches.expects_more(
            self.db, self.run.id, self._feeding
        )

    def _advance(self, batch: Batch) -> None:
        if batch.state == GATHERED:
            name = f"{batch.id}.jsonl"
            file = self.client.find_file(name, batch.created_at) or self._upload(name, batch)
            batch = batches.move(self.db, batch.id, UPLOADED, input_file=file)
        if batch.state == UPLOADED:
            remote = self.client.find_batch(batch.id, batch.created_at) or self.client.create(
                batch.id, batch.input_file or "", batch.endpoint
            )
            now = self.clock()
            batch = batches.move(self.db, batch.id, SUBMITTED, remote=remote, submitted_at=now)
            self._looked[batch.id] = now
        if self.clock() >= self._next_look(batch):
            self._look_after(batch)

    def _upload(self, name: str, batch: Batch) -> str:
        with tempfile.TemporaryFile() as file:
            file.writelines(line_of(key, request) for key, request in batches.requests(self.db, batch.id))
            file.seek(0)
            return self.client.upload(name, file)

    def _next_look(self, batch: Batch) -> float:
        if batch.id not in self._looked:
            return 0.0
        last = self._looked[batch.id]
        age = last - (batch.submitted_at or last)
        return last + min(self.rhythm.latest, max(self.rhythm.soonest, age / 4))

    def _look_after(self, batch: Batch) -> None:
        remote = self.client.retrieve(batch.remote or "")
        if remote.status == "failed":
            self._give_up(batch, remote)
        elif remote.ended:
            self._fetch(batch, remote)
        self._looked[batch.id] = self.clock()

    def _fetch(self, batch: Batch, remote: Remote) -> None:
        """Answers of a batch that was expired or cancelled count like any others."""
        denied: AccessError | None = None
        for file in remote.files:
            for lines in _chunks(self.client.lines(file)):
                denied = self._settle(lines) or denied
        closed = settling.close(self.db, batch.id, SETTLED, remote.status, self.clock())
        if denied:
            raise denied
        self._most = min(MOST_CALLS, 2 * self._most)
        left = closed.requests - closed.answered - closed.refused
        if left:
            log.warning("batch %s: %s, %d of %d calls are asked again", remote.id, remote.status, left,
                        closed.requests)  # fmt: skip
        if left == closed.requests:
            self._submit_after = self.clock() + self.rhythm.latest

    def _settle(self, lines: Iterable[bytes]) -> AccessError | None:
        """The error that only a person can mend, if a line holds one; its call is filed again."""
        answers: list[tuple[str, Completion]] = []
        refusals: list[tuple[str, Refusal]] = []
        denied: AccessError | None = None
        for line in lines:
            try:
                key, outcome = outcome_of(line, self.client.address)
            except TransportError as unreadable:
                log.warning("%s", unreadable)
                continue
            if isinstance(outcome, Completion):
                answers.append((key, outcome))
            elif isinstance(outcome, BadRequest):
                refusals.append((key, Refusal(outcome.reason, str(outcome))))
            elif isinstance(outcome, AccessError):
                denied = outcome
        now = self.clock()
        settling.settle(self.db, answers, self.run.experiment.teacher.price, now)
        settling.refuse(self.db, refusals, now)
        return denied

    def _give_up(self, batch: Batch, remote: Remote) -> None:
        """Nothing was asked and nothing is paid: its calls are filed again."""
        settling.close(self.db, batch.id, REFUSED, remote.message, self.clock())
        said = f"{self.client.address}: batch {remote.id} failed: {remote.message or 'no reason was given'}"
        if not remote.queue_is_full:
            raise AccessError(f"{said}; mend what it names before the run goes on")
        log.warning("%s; trying again later, with fewer calls", said)
        self._most = max(1, batch.requests // 2)
        self._submit_after = self.clock() + self.rhythm.latest


def _chunks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(lines, CHUNK)):
        yield chunk
