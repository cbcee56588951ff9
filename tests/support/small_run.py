"""A small run in a ledger, and what workers do to its units."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select

from models.core.experiment.experiment import Experiment
from models.core.pipeline.graph import dependants, downstream, gathering_dependants
from models.core.types import Completion, Example, Message, Rejection, Request, Usage
from storage.database import Database
from storage.ledger import claims, leases, outcomes, runs, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.ledger.runs import Run
from storage.ledger.scheduling import QueueRoom, SendableUnit
from storage.schema import ALREADY_CORRECT, TEST, TRAIN, UNITS, UPSTREAM_FAILED
from tests.support.clock import Clock
from tests.support.task_folders import conala

LEASE = 20.0
PATIENCE = 10.0
T = TypeVar("T")


def experiment(**sections: Any) -> Experiment:
    """Two cells without exemplars, four with: `train` 5 units an example, `test` 13."""
    config: dict[str, Any] = {
        "name": "small",
        "dataset": {"path": "data", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": {},
        "teacher": {"backend": "openai", "model": "large"},
        "students": [{"backend": "server", "model": "small", "base_url": "http://127.0.0.1:9/v1"}],
        "task": conala(),
        "rationale": {"passes": 2},
        "grid": {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none", "star"]},
    }
    return Experiment.model_validate(config | sections)


def examples(count: int, word: str = "sort") -> list[Example]:
    return [
        Example(row, f"q{row}", f"{word} {row}", f"answer({row})", (f"m.f{row}",)) for row in range(count)
    ]


def plan(
    db: Database,
    clock: Clock,
    run_id: str = "small-1",
    *,
    train: int = 3,
    test: int = 2,
    started: bool = True,
    **sections: Any,
) -> Run:
    splits = {TRAIN: examples(train), TEST: examples(test, "test")}
    runs.plan_run(db, run_id, experiment(**sections), splits, clock())
    if started:
        runs.start_run(db, run_id, clock())
    return runs.load_run(db, run_id)


def units(db: Database, run_id: str = "small-1", **wanted: Any) -> list[Any]:
    """All columns of the run's units, or of those that are as `wanted`, in order."""
    query = select(UNITS).where(UNITS.c.run_id == run_id).order_by(UNITS.c.id)
    with db.read() as connection:
        rows = connection.execute(query).all()
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def ids(db: Database, run_id: str = "small-1", **wanted: Any) -> list[int]:
    return [unit.id for unit in units(db, run_id, **wanted)]


def claim_units(db: Database, owner: str, unit_ids: Sequence[int], now: float) -> list[ClaimedUnit]:
    """Claim units for an owner whose lease begins, or is extended, now."""
    leases.extend_lease(db, owner, now, LEASE)
    return claims.claim_units(db, owner, unit_ids, now)


def take_sendable(
    db: Database, run_id: str, queue: str, limit: int, now: float, patience: float, *groups: Any
) -> list[SendableUnit]:
    """Take what a feeder sends to one queue."""
    return scheduling.take_sendable(db, run_id, {queue: QueueRoom(limit, patience)}, now, *groups)[queue]


def claim_one(db: Database, clock: Clock, unit_id: int, owner: str = "worker") -> ClaimedUnit:
    [claimed] = claim_units(db, owner, [unit_id], clock())
    return claimed


@dataclass(frozen=True)
class Hand:
    """Ends units as a worker does, with the run's own graph."""

    db: Database
    run: Run
    clock: Clock

    def done(self, claimed: ClaimedUnit, result: dict[str, Any] | None = None, **more: Any) -> int:
        freed = dependants(self.run.slots[claimed.split], claimed.step)
        return self._finish(UnitOutcome(claimed, result or {"text": "x"}, dependants=freed, **more))

    def correct(self, claimed: ClaimedUnit, result: dict[str, Any] | None = None) -> int:
        """A rationale that needs no rationalization."""
        skips = downstream(self.run.slots[claimed.split], claimed.step)
        return self._finish(
            UnitOutcome(claimed, result or {"correct": True}, skips=skips, skip_reason=ALREADY_CORRECT)
        )

    def failed(self, claimed: ClaimedUnit, reason: str = "null", rejection: Rejection | None = None) -> int:
        slots = self.run.slots[claimed.split]
        return self._finish(
            UnitOutcome(
                claimed, reason=reason, detail="why", rejection=rejection,
                dependants=gathering_dependants(slots, claimed.step),
                skips=downstream(slots, claimed.step), skip_reason=UPSTREAM_FAILED,
            )
        )  # fmt: skip

    def take(self, split: str, stage: str, variant: str | None = None) -> list[ClaimedUnit]:
        """Claims every ready unit of a stage."""
        wanted = {"split": split, "stage": stage, "state": "ready"}
        if variant is not None:
            wanted["variant"] = variant
        return claim_units(self.db, "worker", ids(self.db, self.run.id, **wanted), self.clock())

    def finish_train(self) -> None:
        """Every train unit, without a right rationale."""
        slots = self.run.slots[TRAIN]
        for slot in slots:
            for claimed in self.take(TRAIN, slot.stage, slot.variant):
                self.done(claimed)

    def _finish(self, outcome: UnitOutcome) -> int:
        return outcomes.finish_units(self.db, [outcome], self.clock())


def request(words: str = "sort a list", draw: tuple[int, int] = (0, 0)) -> Request:
    return Request("openai", "model", (Message("user", words),), None, {"temperature": 0.5}, draw)


def purchase(asked: Request, text: str = "sorted(x)", cost: int = 1_500) -> Purchase:
    return Purchase(asked, Completion(text, "stop", Usage(100, 40, 20)), cost, 0.25)


def race(threads: int, run: Callable[[int], T]) -> list[T]:
    """Run `run` in threads that start together. Return their results."""
    start = threading.Barrier(threads)

    def started(number: int) -> T:
        start.wait()
        return run(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(started, range(threads)))


def in_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
