"""Say before a run is fed how much it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from models.core.types import Example
from producer.look_ahead.forecast import Estimate, estimate_job
from producer.look_ahead.forecast_text import lines_before_run
from producer.look_ahead.known_answers import Job
from storage.database import Database
from storage.ledger import row_samples
from storage.ledger.examples import examples
from storage.ledger.runs import Run
from storage.schema import FINISHED, TEST, TRAIN


@dataclass(frozen=True, slots=True)
class LedgerRows(Iterable[Example]):
    """The rows of a split of a run, as the ledger has them."""

    db: Database
    run: str
    split: str

    def __iter__(self) -> Iterator[Example]:
        return examples(self.db, self.run, self.split)


def estimate_run(db: Database, run: Run, published_prices: bool = False) -> Estimate:
    """Estimate what is left of a run."""
    counted = row_samples.row_counts(db, run.dataset)
    rows = {split: counted.get(split, 0) for split in (TRAIN, TEST)}
    splits = {split: LedgerRows(db, run.id, split) for split in rows}
    return estimate_job(db, Job(run.experiment, run.dataset, rows, splits), published_prices)


def tell_before_run(db: Database, run: Run, tell: Callable[[str], None], remedy: str = "") -> None:
    """Print rows, calls, and what they take as far as the ledger tells; nothing of a run that is over. No
    model is asked. `remedy` says how to know more."""
    if run.state == FINISHED or run.experiment.grow.enabled:
        return
    for line in lines_before_run(estimate_run(db, run), remedy):
        tell(line)
