"""The report sets what the answers of each cell cost against their score."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from producer.results.report.build import build_report
from producer.results.report.cost_sections import cost_against_score, costed_cells
from producer.results.report.formats import RENDERERS
from storage.database import Database
from storage.schema import TEST, TRAIN
from tests.support.ledger_data import (
    COST,
    LedgerRun,
    answered,
    augmented,
    example,
    finish_test,
    finish_train,
    plan_mixed,
    reasoned,
    retrieved,
)


def finished(db: Database, **sections: Any) -> LedgerRun:
    run = plan_mixed(db, **sections)
    finish_train(run)
    finish_test(run)
    return run


def test_a_cell_costs_what_its_answers_and_rationales_cost(db: Database) -> None:
    """Each call has 100 and 20 tokens. Four train rows are augmented and reasoned about, three again."""
    report = build_report(db, finished(db).run)
    plain, shown, star = report.cell_costs
    assert [cost.variant for cost in report.cell_costs] == [row.cell.name for row in report.table]
    for cost in report.cell_costs:
        assert (cost.answers, cost.prompt_tokens, cost.completion_tokens) == (3, 100, 20)
        assert cost.usd_per_1000 == pytest.approx(1000 * COST / 1e9)
    assert (plain.teacher_usd, shown.teacher_usd) == (0, 0)
    assert star.teacher_usd == pytest.approx((5 + 4 + 3) * COST / 1e9)


def test_first_passes_and_augmented_requests_are_counted(db: Database) -> None:
    grid = {"shots": [2], "retrieval": [False], "rationale": ["first_pass"], "augment_test": [False, True]}
    run = plan_mixed(db, grid=grid)
    finish_train(run)
    run.finish(TEST, "augment", augmented)
    finish_test(run)
    raw, own = build_report(db, run.run).cell_costs
    assert raw.teacher_usd == own.teacher_usd == pytest.approx((5 + 4) * COST / 1e9)
    assert (raw.tokens, own.tokens) == (120, 240)
    assert own.usd_per_1000 == pytest.approx(2 * raw.usd_per_1000)


def test_a_vote_costs_no_more_than_its_samples(db: Database) -> None:
    """Its unit names the call of the sample that it elects."""
    run = LedgerRun.plan(
        db, [example(0)], [example(0)], rationale={"samples": 3, "passes": 0},
        grid={"shots": [1], "retrieval": [False], "rationale": ["star"]},
    )  # fmt: skip
    assert build_report(db, run.run).cell_costs == ()
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=True))
    run.finish(
        TRAIN, "rationale", lambda _: {"elected": 1, "votes": {"samples": 3, "winner": 3, "groups": 1}}
    )
    assert run.open_grid()
    run.finish(TEST, "answer", lambda _: answered("x", [0]))
    [cost] = build_report(db, run.run).cell_costs
    assert cost.teacher_usd == pytest.approx((1 + 3) * COST / 1e9)


def test_what_has_no_price_is_unknown(db: Database) -> None:
    """The teacher has none, and the student, which runs here, costs nothing."""
    report = build_report(db, finished(db).run)
    free = replace(
        report,
        cell_costs=tuple(replace(cost, usd_per_1000=0.0, teacher_usd=0.0) for cost in report.cell_costs),
    )
    assert free.unpriced == ("teacher",)
    shown = [[value.text for value in row[4:6]] for row in cost_against_score(free).rows]
    assert shown == [["$0.0000", "-"], ["$0.0000", "-"], ["$0.0000", "unknown"]]
    assert "in tokens, as not every model has a price" in cost_against_score(free).note


def test_every_format_marks_the_optimal_cells(db: Database) -> None:
    report = build_report(db, finished(db).run)
    optimal = [cell.row.cell.name for cell in costed_cells(report) if cell.optimal]
    assert optimal == ["pupil/0-shot", "pupil/2-shot"]
    shown = RENDERERS["markdown"](report)
    assert "## Cost against score" in shown
    [plain, star] = (line for line in shown.splitlines() if re.match(r"\| \S*(0-shot|/star)\S* \| \d", line))
    assert plain.startswith("| **pupil/0-shot** | 33.33 [")
    assert plain.endswith("] | 100 | 20 | \\$1.5000 | - | yes |")
    assert star.startswith("| pupil/2-shot/star | 0.00 [")
    assert star.endswith("] | 100 | 20 | \\$1.5000 | \\$0.0180 | - |")
    stored = json.loads(RENDERERS["json"](report))["cell_costs"]
    assert [(cell["variant"], cell["optimal"]) for cell in stored] == [
        ("pupil/0-shot", True), ("pupil/2-shot", True), ("pupil/2-shot/star", False),
    ]  # fmt: skip
    for name in ("latex", "html"):
        assert "Cost against score" in RENDERERS[name](report)
