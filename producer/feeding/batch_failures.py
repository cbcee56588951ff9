"""The calls that batches brought back without an answer, and how often each is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from models.core.errors import BadRequest, ModelError, RateLimited, ServerError, StrayRefusal, Unavailable
from storage.ledger.batch_enqueue import BatchRefusal

MAX_FAILURES = 5
MAX_LIMITED = 20


class BatchFailures:
    """Counts of this process: a feeder that starts again begins to count again."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._batch: set[str] = set()
        self._completed = False

    def begin(self, *, completed: bool) -> None:
        """Begin with the lines of a batch. One that expired never made some calls: these do not count."""
        self._batch.clear()
        self._completed = completed

    def refusal(self, key: str, error: ModelError) -> BatchRefusal | None:
        """Return the final refusal of a call that failed; None if the next batch asks it again."""
        self._batch.add(key)
        if isinstance(error, BadRequest) and not isinstance(error, StrayRefusal):
            return BatchRefusal(error.reason, str(error))
        self._counts[key] += self._completed
        if self._counts[key] < _allowed(error):
            return None
        del self._counts[key]
        return BatchRefusal(getattr(error, "reason", ServerError.reason), str(error))

    def missing(self, keys: Iterable[str], batch: str) -> list[tuple[str, BatchRefusal]]:
        """Return the final refusals of calls for which a completed batch has no line, or no file at all."""
        error = Unavailable(f"batch {batch} is completed without an answer to it")
        left = [key for key in keys if self._completed and key not in self._batch]
        return [(key, refusal) for key in left if (refusal := self.refusal(key, error))]


def _allowed(error: ModelError) -> int:
    if isinstance(error, StrayRefusal):
        return error.MAX_RETRIES + 1
    return MAX_LIMITED if isinstance(error, RateLimited) else MAX_FAILURES
