"""A run as a worker sees it: its frozen configuration, and how the end of a unit moves others on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.core.errors import BadRequest, ServiceError
from models.core.experiment.experiment import Experiment
from models.core.experiment.task_folder import TaskModule, load_module
from models.core.pipeline.grid import Cell, Searches, cells
from models.core.pipeline.stages import Slot, dependants, downstream, gathering_dependants
from models.core.programs import ExecutionVerdict
from models.core.prompts.rendering import Wording
from models.core.retrieval.passage_selection import hits_of, present, select
from models.core.types import Passage, Rejection
from storage.ledger.claims import ClaimedUnit
from storage.ledger.examples import Repeats
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.ledger.runs import Run
from storage.schema import ALREADY_CORRECT, UPSTREAM_FAILED

if TYPE_CHECKING:
    from models.core.retrieval.solved_examples import EmbeddingIndex
    from storage.ledger.examples import SeedExample
    from worker.runtime import Runtime


class RunContext:
    def __init__(self, runtime: Runtime, run: Run) -> None:
        self.runtime = runtime
        self.run = run
        self.experiment: Experiment = run.experiment
        self.reread_at = 0.0
        # The pools of exemplars, fixed once the barrier is open; filled by `worker.few_shot`.
        self.pool: list[int] | None = None
        self.eligible: dict[str, frozenset[int]] = {}
        self.asked_in_test: dict[str, frozenset[int]] | None = None
        self.space: EmbeddingIndex | None = None
        self.covering: dict[tuple[str, str, int, frozenset[int]], list[int]] = {}
        self.choosing = asyncio.Lock()
        # Right rationales of a round, fixed once the next one is open; filled by `worker.few_shot`.
        self.accepted: dict[int, list[tuple[int, str]]] = {}
        # Seeds, and what was grown before a round; filled by `worker.steps.grow`.
        self.seeds: list[int] | None = None
        self.grown: dict[int, list[SeedExample]] = {}
        # Whether the references meet their tests, by example; filled by `worker.judging`.
        self.references: dict[int, asyncio.Future[ExecutionVerdict]] = {}
        # Examples that share their id or request with others; filled by `worker.requests`.
        self.repeats: Repeats | None = None

    @cached_property
    def slots(self) -> dict[str, list[Slot]]:
        return self.run.slots

    @cached_property
    def cells(self) -> dict[str, Cell]:
        return {cell.variant: cell for cell in cells(self.experiment)}

    @cached_property
    def wording(self) -> Wording:
        """How models are asked. Raises ServiceError, which pauses the run, where nobody wrote that down."""
        if self.experiment.task is None:
            raise ServiceError(
                "the run was planned before there were task folders; start its experiment again with "
                "`starmill run --new`: what was answered is not paid again"
            )
        return Wording(self.experiment.task)

    @cached_property
    def module(self) -> TaskModule:
        """The task folder's own Python. Raises TaskFolderError."""
        return load_module(self.wording.folder.module)

    @cached_property
    def searches(self) -> Searches:
        return Searches.read(self.experiment.passages)

    def chosen(self, found: Sequence[dict[str, Any]], retrieval: str) -> list[Passage]:
        """What is shown of the passages that a unit of the stage retrieve recorded, best first."""
        return [hit.passage for hit in select(hits_of(found), self.searches.choices[retrieval])]

    def chosen_for(self, unit: ClaimedUnit, wording: str, retrieval: str) -> list[Passage]:
        """The same of what was found for this wording of the unit's own request."""
        variant = self.searches.variant(wording, retrieval)
        return self.chosen(unit.inputs["retrieve", variant, 0]["passages"], retrieval)

    def presented(self, chosen: Sequence[Passage], retrieval: str) -> tuple[Passage, ...]:
        """As prompts show them."""
        return present(chosen, self.searches.choices[retrieval])

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
        """After a `correct` rationale no other is needed; anything else sets free what waits for it."""
        slots = self.slots[unit.split]
        if correct:
            skips = downstream(slots, unit.step)
            return UnitOutcome(unit, result, generation=generation, purchase=purchase, rejection=rejection,
                           skips=skips, skip_reason=ALREADY_CORRECT)  # fmt: skip
        return UnitOutcome(unit, result, generation=generation, purchase=purchase, rejection=rejection,
                       dependants=dependants(slots, unit.step))  # fmt: skip

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
        """What needs the unit is skipped; a vote goes on without it."""
        slots = self.slots[unit.split]
        return UnitOutcome(unit, reason=reason, detail=detail[:2000], generation=generation,
                           purchase=purchase, rejection=rejection,
                           dependants=gathering_dependants(slots, unit.step),
                           skips=downstream(slots, unit.step), skip_reason=UPSTREAM_FAILED)  # fmt: skip

    def refused(self, unit: ClaimedUnit, error: BadRequest) -> UnitOutcome:
        """The server does not take the unit's request."""
        return self.failed(unit, error.reason, str(error))


def query_of(unit: ClaimedUnit, wording: str) -> str:
    """The test or train request as it is, or with its augmentation."""
    if wording == "augmented":
        return str(unit.inputs["augment", "", 0]["query"])
    return unit.example.request
