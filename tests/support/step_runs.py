"""A run of a pipeline of steps in a real ledger, its units ended as a worker ends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import select

from models.core.experiment.experiment import Experiment
from models.core.kinds.vote import VoteStep
from models.core.pipeline.graph import dependants, downstream, votes_without
from models.core.types import Completion, Example, Message, Rejection, Request, Usage
from storage.database import Database
from storage.ledger import claims, outcomes, runs, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.ledger.runs import Run
from storage.schema import CONDITION, NO_SAMPLES, READY, TEST, TRAIN, UNITS, UPSTREAM_FAILED
from tests.support.small_run import claim_units

NOW = 1_800_000_000.0
COST = 1_000_000
# A result of a unit, the reason why it fails, or None if its condition is false.
StepEnd = dict[str, Any] | str | None
STEPS: dict[str, Any] = {
    "draft": {"prompt": "Explain {{ question }}", "samples": 2},
    "critique": {"model": "critic", "prompt": "Rate {{ draft }}", "score": [1, 5]},
    "best": {"of": "draft", "by": "critique.score", "least": 3},
    "revise": {"prompt": "Improve {{ best }}", "when": "best.score < 5"},
}


def experiment(**sections: Any) -> Experiment:
    config: dict[str, Any] = {
        "name": "steps",
        "data": "rows.csv",
        "teacher": {"backend": "openai", "model": "writer"},
        "models": {"critic": {"backend": "openai", "model": "reader"}},
        "steps": STEPS,
    }
    return Experiment.model_validate(config | sections)


def rows(count: int, **columns: Callable[[int], Any]) -> list[Example]:
    """Rows with a question, and further columns by their number."""
    made = [
        {"question": f"why {row}"} | {name: of(row) for name, of in columns.items()} for row in range(count)
    ]
    return [Example(row, str(row), "", "", has_id=False, columns=each) for row, each in enumerate(made)]


@dataclass(frozen=True)
class StepRun:
    db: Database
    run: Run

    @classmethod
    def plan(
        cls,
        db: Database,
        train: Sequence[Example],
        test: Sequence[Example] = (),
        run_id: str = "steps-1",
        **sections: Any,
    ) -> StepRun:
        runs.plan_run(db, run_id, experiment(**sections), {TRAIN: train, TEST: test}, NOW)
        runs.start_run(db, run_id, NOW)
        return cls(db, runs.load_run(db, run_id))

    def end(self, step: str, result: Callable[[ClaimedUnit], StepEnd]) -> int:
        """End every ready unit of a step, and return their number."""
        ended = [self._outcome(unit, result(unit)) for unit in self.claim(step)]
        return outcomes.finish_units(self.db, ended, NOW)

    def claim(self, step: str) -> list[ClaimedUnit]:
        wanted = (UNITS.c.run_id == self.run.id, UNITS.c.stage == step, UNITS.c.state == READY)
        with self.db.read() as connection:
            ids = list(connection.scalars(select(UNITS.c.id).where(*wanted).order_by(UNITS.c.id)))
        return claim_units(self.db, "worker", ids, NOW)

    def reject(self, step: str, rejection: Rejection, text: str) -> None:
        """The first ready unit of the step gets an answer that is not accepted, and stays ready."""
        units = self.claim(step)
        unit = units[0]
        bought = purchase(unit, text)
        outcomes.record_rejection(self.db, unit, rejection, unit.rejections, bought.request.key, bought, NOW)
        claims.release_units(self.db, "worker", [unit.unit_id for unit in units])

    def reload(self) -> Run:
        return runs.load_run(self.db, self.run.id)

    def close(self) -> None:
        assert scheduling.finish_run(self.db, self.run.id, NOW)

    def _outcome(self, unit: ClaimedUnit, end: StepEnd) -> UnitOutcome:
        slots = self.run.slots[unit.split]
        if isinstance(end, str):
            lost = downstream(slots, unit.step)
            votes = votes_without(slots, [unit.step, *lost])
            return UnitOutcome(
                unit, reason=end, detail="why", dependants=votes.get(unit.step, ()), skips=lost,
                skip_reason=UPSTREAM_FAILED, votes=votes,
            )  # fmt: skip
        follow = dependants(slots, unit.step)
        if end is None:
            return UnitOutcome(unit, {"value": None}, reason=CONDITION, skipped=True, dependants=follow)
        asks = self.run.experiment.steps[unit.stage].asks
        bought = purchase(unit, json.dumps(end)) if asks else None
        key = bought.request.key if bought else None
        return UnitOutcome(unit, end, generation=key, purchase=bought, dependants=follow)


def purchase(unit: ClaimedUnit, text: str) -> Purchase:
    """A call of its own for each unit and attempt, the same in every run."""
    words = f"{unit.stage} {unit.split} {unit.example.row}"
    asked = Request("openai", "writer", (Message("user", words),), draw=(unit.sample, unit.rejections))
    return Purchase(asked, Completion(text, "stop", Usage(100, 40, 20)), COST, 0.25)


def drafted(unit: ClaimedUnit) -> StepEnd:
    return {"value": f"draft {unit.sample} of {unit.example.row}"}


SCORES = {0: (3, 4), 1: (5, 4), 2: (1, 2), 3: (3, 3)}


def end_all(run: StepRun, scores: Mapping[int, Sequence[int]] = SCORES) -> None:
    """Row 0 is revised, row 1 is perfect, the best draft of row 2 is bad, one draft of row 3 failed, and both
    of row 4."""
    run.end(
        "draft",
        lambda unit: (
            "refusal"
            if unit.example.row == 4 or (unit.example.row == 3 and unit.sample == 0)
            else drafted(unit)
        ),
    )
    run.end(
        "critique", lambda unit: {"value": {"score": scores[unit.example.row][unit.sample], "reason": "so"}}
    )
    vote = run.run.experiment.steps["best"]
    assert isinstance(vote, VoteStep)
    run.end("best", partial(_vote, least=vote.least or 0))
    run.end("revise", lambda unit: {"value": "better"} if unit.example.row in (0, 3) else None)


def _vote(unit: ClaimedUnit, least: float) -> StepEnd:
    scored = [
        (result["value"]["score"], unit.inputs["draft", "", sample]["value"])
        for (step, _, sample), result in sorted(unit.inputs.items())
        if step == "critique"
    ]
    if not scored:
        return NO_SAMPLES
    (score, chosen), (other, rejected) = max(scored), min(scored)
    lost = {"rejected": rejected, "rejected_score": other} if other < score else {}
    return {"value": chosen if score >= least else None, "score": score, "accepted": score >= least, **lost}
