"""A run in a real ledger, its units finished as a worker finishes them, with results that a test gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from models.core.experiment.experiment import Experiment
from models.core.pipeline.graph import dependants, downstream, gathering_dependants
from models.core.pipeline.rounds import SAMPLES
from models.core.types import Completion, Example, Message, Rejection, Request, Usage
from storage.database import Database
from storage.ledger import claims, outcomes, runs, scheduling
from storage.ledger import exemplars as ledger_exemplars
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.ledger.runs import Run
from storage.schema import ALREADY_CORRECT, DONE, TEST, TRAIN, UNITS, UPSTREAM_FAILED
from tests.support.small_run import claim_units

NOW = 1_800_000_000.0
COST = 1_500_000
Answer = dict[str, Any] | str | None


def experiment(**sections: Any) -> Experiment:
    """One student, three cells, one rationalization pass."""
    config: dict[str, Any] = {
        "name": "small",
        "dataset": {"path": "data", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": {},
        "teacher": {"backend": "openai", "model": "teacher_1"},
        "students": [{"backend": "embedded", "name": "pupil"}],
        "grid": {"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]},
    }
    return Experiment.model_validate(config | sections)


def example(row: int, request: str = "", reference: str = "", question_id: str = "") -> Example:
    return Example(row, question_id or f"q{row}", request or f"sort {row}", reference or f"answer({row})")


@dataclass(frozen=True)
class LedgerRun:
    """`finish` ends units of a stage: the results it is given are what the stage stores."""

    db: Database
    run: Run

    @classmethod
    def plan(
        cls,
        db: Database,
        train: Sequence[Example],
        test: Sequence[Example],
        run_id: str = "small-1",
        **sections: Any,
    ) -> LedgerRun:
        runs.plan_run(db, run_id, experiment(**sections), {TRAIN: train, TEST: test}, NOW)
        runs.start_run(db, run_id, NOW)
        return cls(db, runs.load_run(db, run_id))

    def finish(self, split: str, stage: str, result: Callable[[ClaimedUnit], Answer]) -> int:
        """Every ready unit of the stage gets a result, fails with a reason (a string), or stays (None)."""
        units = self._ready(split, stage)
        answers = [(unit, result(unit)) for unit in units]
        ended = [self._outcome(unit, answer) for unit, answer in answers if answer is not None]
        return self._finish(units, ended)

    def share_call(self, split: str, stage: str, result: Callable[[ClaimedUnit], Answer]) -> None:
        """Every ready unit of the stage gets its result from one common call."""
        units = self._ready(split, stage)
        ended = [self._outcome(unit, result(unit) or {}) for unit in units]
        again = [replace(outcome, generation=ended[0].generation, purchase=None) for outcome in ended[1:]]
        self._finish(units, [ended[0], *again])

    def reject(self, split: str, stage: str, rejection: Rejection, text: str | None) -> None:
        """The first ready unit gets an answer that is not accepted, and stays ready."""
        units = self._ready(split, stage)
        bought = self._purchase(units[0], text)
        key = bought.request.key
        outcomes.record_rejection(self.db, units[0], rejection, units[0].rejections, key, bought, NOW)
        self._finish(units, [])

    def open_grid(self) -> bool:
        return scheduling.open_barrier(self.db, self.run)

    def close(self) -> None:
        assert scheduling.finish_run(self.db, self.run.id, NOW)

    def reload(self) -> Run:
        return runs.load_run(self.db, self.run.id)

    def _ready(self, split: str, stage: str) -> list[ClaimedUnit]:
        wanted = (UNITS.c.run_id == self.run.id, UNITS.c.split == split, UNITS.c.stage == stage)
        with self.db.read() as connection:
            ids = list(connection.scalars(select(UNITS.c.id).where(*wanted, UNITS.c.state != DONE)))
        return claim_units(self.db, "worker", ids, NOW)

    def _finish(self, units: Sequence[ClaimedUnit], ended: Sequence[UnitOutcome]) -> int:
        """End these, and give the other units back."""
        new = outcomes.finish_units(self.db, ended, NOW)
        claims.release_units(self.db, "worker", [unit.unit_id for unit in units])
        return new

    def _outcome(self, unit: ClaimedUnit, answer: dict[str, Any] | str) -> UnitOutcome:
        slots = self.run.slots[unit.split]
        lost = downstream(slots, unit.step)
        if isinstance(answer, str):
            return UnitOutcome(unit, reason=answer, detail="why", skips=lost, skip_reason=UPSTREAM_FAILED,
                               dependants=gathering_dependants(slots, unit.step))  # fmt: skip
        if unit.stage == "rationale" and self.run.experiment.rationale.samples > 1:
            return self._voted(unit, answer)
        asks = unit.stage in {"augment", "rationale", "rationalize", "answer"}
        bought = self._purchase(unit, json.dumps(answer)) if asks else None
        key = bought.request.key if bought else None
        stop_at = self.run.experiment.rationale.stop_at
        if (
            unit.stage in {"rationale", "rationalize"}
            and answer["correct"]
            and 1 + ledger_exemplars.count_right_before(self.db, unit) >= stop_at
        ):
            return UnitOutcome(
                unit, answer, generation=key, purchase=bought, skips=lost, skip_reason=ALREADY_CORRECT
            )
        return UnitOutcome(
            unit, answer, generation=key, purchase=bought, dependants=dependants(slots, unit.step)
        )

    def _voted(self, unit: ClaimedUnit, answer: dict[str, Any]) -> UnitOutcome:
        """A sample with a call of its own, or a vote, which rests on the sample that `elected` names."""
        slots = self.run.slots[unit.split]
        if unit.variant in SAMPLES:
            bought = self._purchase(unit, json.dumps(answer))
            return UnitOutcome(unit, answer, generation=bought.request.key, purchase=bought,
                           dependants=dependants(slots, unit.step))  # fmt: skip
        sample = ledger_exemplars.answered_samples(self.db, unit)[answer.pop("elected")]
        moves: dict[str, Any] = {"dependants": dependants(slots, unit.step)}
        if sample.result["correct"]:
            moves = {"skips": downstream(slots, unit.step), "skip_reason": ALREADY_CORRECT}
        return UnitOutcome(unit, sample.result | answer, generation=sample.generation, **moves)

    def _purchase(self, unit: ClaimedUnit, text: str | None) -> Purchase:
        """A call of its own for each unit and attempt, the same in every run."""
        words = f"{unit.split} {unit.example.row} {unit.step}"
        asked = Request("openai", "teacher_1", (Message("user", words),), draw=(0, unit.rejections))
        return Purchase(asked, Completion(text, "stop", Usage(100, 40, 20)), COST, 0.25)


def augmented(unit: ClaimedUnit) -> Answer:
    sentence = "This requires sorting."
    return {"augmentation": sentence, "query": f"{unit.example.request}. {sentence}"}


def retrieved(unit: ClaimedUnit) -> Answer:
    passage = {"id": "p1", "name": "sorted", "signature": "(x)", "text": "Sort <it>.", "library": ""}
    return {"query": unit.example.request, "passages": [{**passage, "score": 0.5}]}


def reasoned(unit: ClaimedUnit, *, correct: bool, form: str = "", hint_leak: bool = False) -> dict[str, Any]:
    code = unit.example.reference if correct else "wrong()"
    query = unit.inputs["augment", "", 0]["query"]
    return {
        "query": query, "text": f"It sorts. The answer is {code}", "answer": code, "correct": correct,
        "hint_leak": hint_leak, "form": form,
    }  # fmt: skip


def answered(
    text: str, exemplars: Sequence[int] = (), *, truncated: bool = False, **more: Any
) -> dict[str, Any]:
    return {"text": text, "exemplars": list(exemplars), "passages": 0, "truncated": truncated, **more}


def judged(unit: ClaimedUnit) -> Answer:
    """The whole answer is the prediction."""
    text = unit.inputs["answer", unit.variant, unit.sample]["text"]
    return {"prediction": text, "exact_match": text == unit.example.reference}


# A run with one of each: a rationale that leaks its hint, one right at once, one right with the hint, one
# wrong for good, one refused; and three test rows, of which two share an id.
HARD = 'print("</script>", "naïve 模型 \\x{}")\n# 100 % & $x_1$\t'
LEAK, RIGHT, STAR, WRONG, REFUSED = range(5)


def plan_mixed(db: Database, run_id: str = "small-1", **sections: Any) -> LedgerRun:
    train = [example(row) for row in range(4)] + [example(4, request="", reference=HARD)]
    test = [example(0), example(1, reference=HARD), example(2, question_id="q0")]
    return LedgerRun.plan(db, train, test, run_id, **sections)


def _first_pass(unit: ClaimedUnit) -> dict[str, Any] | str:
    return "refusal" if unit.example.row == REFUSED else reasoned(unit, correct=unit.example.row == RIGHT)


def _second_pass(unit: ClaimedUnit) -> dict[str, Any]:
    row = unit.example.row
    form = "no_code" if row == WRONG else ""
    return reasoned(unit, correct=row == STAR, form=form, hint_leak=row == LEAK)


def finish_train(run: LedgerRun) -> None:
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", _first_pass)
    run.finish(TRAIN, "rationalize", _second_pass)
    assert run.open_grid()


def answer(unit: ClaimedUnit) -> dict[str, Any]:
    """Cell by cell: right for row 1; right for row 2; always wrong."""
    cell, row = unit.variant, unit.example.row
    right = (cell.endswith("0-shot") and row == 1) or (cell.endswith("2-shot") and row == 2)
    return answered(
        unit.example.reference if right else f"wrong({row}) \ud800", [1] if "star" in cell else [1, 2]
    )


def finish_test(run: LedgerRun) -> None:
    run.finish(TEST, "answer", answer)
    run.finish(TEST, "judge", judged)
