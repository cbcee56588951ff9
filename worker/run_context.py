"""A run as a worker sees it, and what the end of a unit means for the units that depend on it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from models.core.errors import BadRequest, ServiceError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import BASE
from models.core.kinds.order import read_steps, sample_counts
from models.core.pipeline.graph import Slot, Step, all_dependants, downstream, votes_without
from models.core.pipeline.grid import Cell, Searches, cells
from models.core.prompts.rendering import PromptRenderer
from models.core.retrieval.passage_selection import format_passages, hits_from_records, shown_hits
from models.core.types import Passage, Rejection
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.ledger.runs import Run
from storage.schema import ALREADY_CORRECT, CONDITION, UPSTREAM_FAILED
from worker.clients import Clients
from worker.ledger_access import LedgerAccess

# A verdict or an extraction of a task folder takes no longer.
MODULE_SECONDS = 30.0
P = ParamSpec("P")
T = TypeVar("T")


class RunContext:
    """One run and the means for its steps. `stopping` is set when the run or the worker stops."""

    def __init__(self, run: Run, ledger: LedgerAccess, clients: Clients, stopping: asyncio.Event) -> None:
        self.run = run
        self.experiment: Experiment = run.experiment
        self.ledger = ledger
        self.clients = clients
        self.stopping = stopping
        # Models whose servers refuse a schema of the answer.
        self.takes_no_schema: set[str] = set()
        # Models that were asked with a schema. Until one was, calls with a schema wait for the first.
        self.schema_tried: set[str] = set()
        self.first_schema: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @cached_property
    def slots(self) -> dict[str, list[Slot]]:
        return self.run.slots

    @cached_property
    def _all_dependants(self) -> dict[str, dict[Step, list[Step]]]:
        return {split: all_dependants(slots) for split, slots in self.slots.items()}

    def _dependants(self, unit: ClaimedUnit) -> Sequence[Step]:
        return self._all_dependants[unit.split].get(unit.step, ())

    @cached_property
    def sample_counts(self) -> dict[str, int]:
        """The number of units that a row has of each step."""
        return sample_counts(self.experiment.steps)

    @cached_property
    def read_steps(self) -> dict[str, list[str]]:
        """The steps that each step reads or waits for."""
        steps = self.experiment.steps
        return {name: read_steps(steps, name) for name in steps}

    @cached_property
    def cells(self) -> dict[str, Cell]:
        return {cell.name: cell for cell in cells(self.experiment)}

    @cached_property
    def wording(self) -> PromptRenderer:
        """The task folder's prompts. Raise ServiceError, which pauses the run, if there is no task folder."""
        if self.experiment.task is None:
            raise ServiceError(
                "the run was planned before there were task folders; start its experiment again with "
                "`starmill run --new`: what was answered is not paid again"
            )
        return PromptRenderer(self.experiment.task)

    async def call_module(self, function: str, *arguments: Any) -> Any:
        """Call a function of the task folder's own Python, in a process beside the worker. Raise
        TaskFolderError."""
        if self.experiment.task is None:
            raise ServiceError("the experiment names no task folder; set task to one with a task.py")
        module = self.experiment.task.module
        return await self.clients.call_python(module, function, list(arguments), MODULE_SECONDS)

    @cached_property
    def searches(self) -> Searches:
        return Searches.read(self.experiment.passages)

    @property
    def train_retrieval(self) -> str:
        """The retrieval that the teacher is shown: the section `passages`, or none."""
        return BASE if self.experiment.passages else ""

    def select_passages(self, records: Sequence[dict[str, Any]], retrieval: str) -> list[Passage]:
        """Choose, best first, from the hits that a unit of the stage retrieve recorded; none without a
        retrieval."""
        if not retrieval:
            return []
        return [
            hit.passage for hit in shown_hits(hits_from_records(records), self.searches.choices[retrieval])
        ]

    def passages_for(self, unit: ClaimedUnit, wording: str, retrieval: str) -> list[Passage]:
        """Choose, best first, from the hits of the unit's own request in this wording; none without a
        retrieval."""
        if not retrieval:
            return []
        variant = self.searches.unit_name(wording, retrieval)
        return self.select_passages(unit.inputs["retrieve", variant, 0]["passages"], retrieval)

    def present_passages(self, chosen: Sequence[Passage], retrieval: str) -> tuple[Passage, ...]:
        """Return the passages in the form that prompts show; none without a retrieval."""
        if not retrieval:
            return ()
        return format_passages(chosen, self.searches.choices[retrieval])

    def done(
        self,
        unit: ClaimedUnit,
        result: dict[str, Any],
        *,
        correct: bool = False,
        generation: str | None = None,
        purchase: Purchase | None = None,
        rejection: Rejection | None = None,
    ) -> UnitOutcome:
        """Return a success. If it is `correct`, the example needs no further rationale, and the steps for one
        are skipped; else the dependants are released."""
        slots = self.slots[unit.split]
        return UnitOutcome(
            unit, result, generation=generation, purchase=purchase, rejection=rejection,
            dependants=() if correct else self._dependants(unit),
            skips=downstream(slots, unit.step) if correct else (),
            skip_reason=ALREADY_CORRECT if correct else "",
        )  # fmt: skip

    def skipped(self, unit: ClaimedUnit) -> UnitOutcome:
        """Return the end of a unit whose condition is false. The steps after it see a null."""
        return UnitOutcome(
            unit, {"value": None}, reason=CONDITION, skipped=True,
            dependants=self._dependants(unit),
        )  # fmt: skip

    def failed(
        self,
        unit: ClaimedUnit,
        reason: str,
        detail: str,
        *,
        generation: str | None = None,
        purchase: Purchase | None = None,
        rejection: Rejection | None = None,
    ) -> UnitOutcome:
        """Return a failure. Steps that need the unit are skipped; a vote goes on without it. A unit that its
        row can do without ends with its stand-in, and the row goes on."""
        stand_in = self._stand_in(unit)
        if stand_in is not None:
            return UnitOutcome(
                unit, stand_in, reason=reason, detail=detail[:2000], generation=generation,
                purchase=purchase, rejection=rejection, dependants=self._dependants(unit),
            )  # fmt: skip
        slots = self.slots[unit.split]
        lost = downstream(slots, unit.step)
        votes = votes_without(slots, [unit.step, *lost])
        return UnitOutcome(
            unit, reason=reason, detail=detail[:2000], generation=generation, purchase=purchase,
            rejection=rejection, dependants=votes.get(unit.step, ()), skips=lost,
            skip_reason=UPSTREAM_FAILED, votes=votes,
        )  # fmt: skip

    def _stand_in(self, unit: ClaimedUnit) -> dict[str, Any] | None:
        """Return the result with which the row of a failed unit goes on; None if it cannot."""
        if unit.kind:
            return {"value": None} if self.experiment.steps[unit.stage].optional else None
        if unit.stage == "augment" and self.experiment.augment.on_failure == "raw":
            return {"augmentation": "", "query": unit.example.request}
        return None

    def rejected(
        self, unit: ClaimedUnit, rejection: Rejection, generation: str | None, purchase: Purchase | None
    ) -> UnitOutcome:
        """Return the failure of a unit whose last answer was not accepted either."""
        return self.failed(
            unit, rejection.reason, rejection.detail, generation=generation, purchase=purchase,
            rejection=rejection,
        )  # fmt: skip

    def refused(self, unit: ClaimedUnit, error: BadRequest) -> UnitOutcome:
        """Return the failure of a unit whose request the server refuses."""
        return self.failed(unit, error.reason, str(error))


def query_of(unit: ClaimedUnit, wording: str) -> str:
    """Return the request; with its augmentation, if it has one, if `wording` says so."""
    if wording == "augmented":
        return str(unit.inputs["augment", "", 0]["query"])
    return unit.example.request


def once_per_run(
    load: Callable[Concatenate[RunContext, P], Awaitable[T]],
) -> Callable[Concatenate[RunContext, P], Coroutine[Any, Any, T]]:
    """Make `load` run once for each context and arguments, for values that stay the same during a run.

    Arguments are positional and hashable. Concurrent callers share one call; errors are not kept. The values
    are dropped with the context, so they must not refer to it.
    """
    caches: WeakKeyDictionary[RunContext, tuple[dict[Any, T], defaultdict[Any, asyncio.Lock]]]
    caches = WeakKeyDictionary()

    async def cached(context: RunContext, /, *args: P.args, **kwargs: P.kwargs) -> T:
        values, locks = caches.setdefault(context, ({}, defaultdict(asyncio.Lock)))
        if args not in values:
            async with locks[args]:
                if args not in values:
                    values[args] = await load(context, *args, **kwargs)
        return values[args]

    return cached
