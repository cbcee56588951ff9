"""The report tells how far rules agree on the same answers, and seeds on the same rows."""

from __future__ import annotations

import json
from typing import Any

from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from producer.results.report.verdict_agreement import RepeatAgreement, RuleAgreement
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.ledger_data import LedgerRun, answered, example, finish_test, finish_train, plan_mixed
from tests.support.step_runs import StepRun, rows

ONE_CELL = {"shots": [0], "retrieval": [False], "rationale": ["none"]}
# What a judge model calls right: the first two, of which one has the reference's words.
ANSWERS = ["answer(0)", "answer( 1 )", "answer(2)", "other(3)"]


def by_two_rules(
    db: Database, rows: int = 4, questions: int = 4, run_id: str = "small-1", **grid: Any
) -> LedgerRun:
    """Test rows in fours; a judge model is right about the first two answers, the second only as a tree."""
    judge = {
        "correctness": "model",
        "model": {"backend": "openai", "model": "j"},
        "metrics": ["exact_match", "tree_match"],
    }
    test = [
        example(row, reference=f"answer({row % 4})", question_id=f"q{row % questions}") for row in range(rows)
    ]
    run = LedgerRun.plan(db, [], test, run_id, grid=ONE_CELL | grid, judge=judge)
    run.finish(TEST, "answer", lambda unit: answered(ANSWERS[(unit.example.row + unit.sample) % 4]))

    def judged(unit: ClaimedUnit) -> dict[str, Any]:
        text = unit.inputs["answer", unit.variant, unit.sample]["text"]
        same = text == unit.example.reference
        return {"prediction": text, "exact_match": same, "correct": text in ANSWERS[:2]}

    run.finish(TEST, "judge", judged)
    return run


def test_rules_agree_as_far_as_their_verdicts_do(db: Database) -> None:
    agreement = build_report(db, by_two_rules(db).run).agreement
    assert agreement.rules == (
        RuleAgreement("exact match", "tree", 4, 2, 0, 1, 0.5),
        RuleAgreement("exact match", "model", 4, 1, 1, 1, 0.0),
        RuleAgreement("tree", "model", 4, 2, 1, 0, 0.5),
    )
    assert agreement.repeats == ()


def test_seeds_agree_row_by_row(db: Database) -> None:
    """Two seeds of one cell: the judge calls row 0 right twice, row 1 and row 3 once, row 2 never."""
    [cell] = build_report(db, by_two_rules(db, seeds=[7, 8]).run).agreement.repeats
    assert cell == RepeatAgreement("pupil/0-shot", 4, 2, 1 - 7 * 4 / (2 * 4 * 4))


def test_judges_of_a_pipeline_agree_sample_by_sample(db: Database) -> None:
    """Two samples of three rows; the model likes the first of each, the rule both of two rows."""
    steps = {
        "draft": {"prompt": "Explain {{ question }}", "samples": 2},
        "exact": {"kind": "judge", "of": "draft", "rule": "text", "reference": "question"},
        "model": {"kind": "judge", "model": "critic", "prompt": "Is this right? {{ draft }}"},
    }
    run = StepRun.plan(db, rows(3), steps=steps)
    run.end("draft", lambda _: {"value": "x"})
    run.end("exact", lambda unit: {"value": {"correct": unit.example.row < 2}})
    run.end("model", lambda unit: {"value": {"correct": unit.sample == 0}})
    agreement = build_report(db, run.run).agreement
    assert agreement.rules == (RuleAgreement("exact", "model", 6, 2, 2, 1, 0.0),)
    assert [(each.name, each.rows, each.unanimous) for each in agreement.repeats] == [
        ("exact", 3, 3), ("model", 3, 0),
    ]  # fmt: skip
    assert [each.alpha for each in agreement.repeats] == [1.0, 1 - 5 * 6 / 18]


def test_enough_rows_have_an_interval_in_every_format(db: Database) -> None:
    """60 rows that are 33 questions, and 60 that are five questions, which are too few."""
    wide = by_two_rules(db, rows=60, questions=33, seeds=[7, 8])
    few = by_two_rules(db, rows=60, questions=5, run_id="few")
    agreement = build_report(db, wide.run).agreement
    for value, interval in (
        *((rule.kappa, rule.interval) for rule in agreement.rules),
        *((repeat.alpha, repeat.interval) for repeat in agreement.repeats),
    ):
        assert value is not None
        assert interval is not None
        assert -1 <= interval[0] < value < interval[1] <= 1
    report, shown = build_report(db, wide.run), "{:.2f}, {:.2f}".format(*agreement.rules[0].interval or ())
    for name in ("markdown", "latex", "html"):
        assert shown in RENDERERS[name](report)
    stored = json.loads(RENDERERS["json"](report))["agreement"]["rules"][0]
    assert stored["interval"] == list(agreement.rules[0].interval or ())
    too_few = build_report(db, few.run)
    assert {rule.interval for rule in too_few.agreement.rules} == {None}
    assert "| too few to compare |" in RENDERERS["markdown"](too_few)


def test_one_rule_and_one_seed_have_nothing_to_agree_with(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    finish_test(run)
    report = build_report(db, run.run)
    assert (report.agreement.rules, report.agreement.repeats) == ((), ())
    assert "Agreement" not in RENDERERS["markdown"](report)


def test_every_format_shows_the_agreement(db: Database) -> None:
    report = build_report(db, by_two_rules(db, seeds=[7, 8]).run)
    assert "| exact match | model | 8 | 1 |" in RENDERERS["markdown"](report)
    assert "| pupil/0-shot | 4 | 2 of 4 (50.0 %) |" in RENDERERS["markdown"](report)
    for name in ("latex", "html"):
        assert "Agreement of verdicts" in RENDERERS[name](report)
        assert "Agreement of repeats" in RENDERERS[name](report)
    stored = json.loads(RENDERERS["json"](report))["agreement"]
    assert [rule["answers"] for rule in stored["rules"]] == [8, 8, 8]
    assert stored["repeats"][0]["name"] == "pupil/0-shot"
