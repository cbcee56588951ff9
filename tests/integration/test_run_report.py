"""Reports of runs in a real ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.core.metrics.scores import row_stats, score, scores
from models.core.metrics.seed_scores import intervals
from models.core.metrics.significance import holm, mcnemar
from models.core.retrieval.passage_selection import hit_record
from models.core.types import Hit, Passage, Rejection
from producer.results.report.ablation_table import METRICS
from producer.results.report.build import build_report
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST, TRAIN
from tests.support.ledger_data import (
    COST,
    HARD,
    Answer,
    LedgerRun,
    answer,
    answered,
    augmented,
    example,
    finish_test,
    finish_train,
    judged,
    plan_mixed,
    reasoned,
    retrieved,
)

PAPER = {"extraction": "paper"}


def test_a_cell_has_the_scores_of_its_answers(db: Database) -> None:
    run = plan_mixed(db, judge=PAPER)
    finish_train(run)
    finish_test(run)
    run.close()
    report = build_report(db, run.run)
    assert (report.state, [row.cell.name for row in report.table]) == (
        "finished",
        ["pupil/0-shot", "pupil/2-shot", "pupil/2-shot/star"],
    )
    # In the paper the last row of an id counts: row 2 stands for q0, and row 0 for nothing.
    stats = [row_stats("wrong(2) \ud800", "answer(2)"), row_stats(HARD, HARD)]
    expected, bounds = scores(stats), intervals(stats)
    first, second, third = report.table
    assert (first.n, first.planned) == (2, 2)
    for name in METRICS:
        measure = first.measures[name]
        assert measure.value == pytest.approx(expected[name])
        assert (measure.low, measure.high) == pytest.approx(bounds[name])
    assert first.measures["exact_match"].value == second.measures["exact_match"].value == 50
    # Of equal ones none is best.
    assert "exact_match" not in {*first.best, *second.best}
    assert third.measures["exact_match"].value == 0
    assert "exact_match" not in third.best
    assert report.notes == (
        "Shown fewer exemplars than shots, as there were no more: "
        "pupil/2-shot/star (3 of 3 answers, 1.00 on average).",
        "1 of 3 test rows share an id with a later row and are left out, as in the paper; "
        "report.repeated_ids: each counts all.",
    )


def test_rows_that_share_an_id_are_all_counted(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    finish_test(run)
    assert [(row.n, row.planned) for row in build_report(db, run.run).table] == [(3, 3)] * 3


def test_report_counts_what_did_not_fit_the_context(db: Database) -> None:
    """It is told apart from exemplars that there were not."""
    run = plan_mixed(db)
    finish_train(run)
    lost = {
        "pupil/2-shot": {"passages": 3, "exemplars": 1},
        "pupil/2-shot/star": {"passages": 1, "exemplars": 0},
    }

    def shortened(unit: ClaimedUnit) -> dict[str, Any]:
        if unit.example.row == 0 or unit.variant not in lost:
            return answer(unit) | {"dropped": {"passages": 0, "exemplars": 0}}
        return answered("x", [1], dropped=lost[unit.variant])

    run.finish(TEST, "answer", shortened)
    _, full, star = build_report(db, run.run).table
    assert (full.fewer, full.shortened, full.dropped) == (0, 2, (6, 2))
    assert (star.fewer, star.shortened, star.dropped) == (3, 2, (2, 0))
    assert (
        "Left out where the model's context had no room: pupil/2-shot (6 passages and 2 exemplars in 2 of 3 "
        "answers); pupil/2-shot/star (2 passages and 0 exemplars in 2 of 3 answers)."
    ) in build_report(db, run.run).notes


def test_an_unfinished_run_counts_what_is_judged(db: Database) -> None:
    run = plan_mixed(db, judge=PAPER)
    finish_train(run)
    run.finish(TEST, "answer", lambda unit: "null" if unit.example.row == 1 else answer(unit))
    # Of q0 only the first row is judged: its last row counts, and has no score yet.
    run.finish(TEST, "judge", lambda unit: judged(unit) if unit.example.row == 0 else None)
    report = build_report(db, run.run)
    assert [(row.n, row.planned, row.measures) for row in report.table] == [(0, 2, {})] * 3
    run.finish(TEST, "judge", judged)
    assert [(row.n, row.planned) for row in build_report(db, run.run).table] == [(1, 2)] * 3
    assert report.notes[0] == "The run is running: 3 units are open; the numbers are of what is done so far."
    run.close()
    assert build_report(db, run.run).notes[0] == (
        "3 planned answers failed; they have no score and are not in n."
    )


def test_seeds_are_averaged(db: Database) -> None:
    grid = {"shots": [0], "retrieval": [False], "rationale": ["none"], "seeds": [7, 8]}
    run = plan_mixed(db, judge=PAPER, grid=grid)
    texts = {(0, 1): HARD, (0, 2): "answer(2)", (1, 1): "x +", (1, 2): "answer(3)"}
    run.finish(TEST, "answer", lambda unit: answered(texts.get((unit.sample, unit.example.row), "?")))
    run.finish(TEST, "judge", judged)
    report = build_report(db, run.run)
    [row] = report.table
    references = [HARD, "answer(2)"]
    seeds = [score([texts[seed, 1], texts[seed, 2]], references) for seed in (0, 1)]
    assert (row.n, row.planned) == (4, 4)
    for name in METRICS:
        mean = sum(each[name] for each in seeds) / 2
        assert row.measures[name].value == pytest.approx(mean)
        assert row.measures[name].low <= mean <= row.measures[name].high
        sd = abs(seeds[0][name] - seeds[1][name]) / 2**0.5
        assert row.measures[name].sd == pytest.approx(sd)
    assert "Scores are means over 2 seeds; n counts the answers of all of them." in report.notes


def test_cells_are_compared_over_the_rows_that_both_answered(db: Database) -> None:
    grid = {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none"]}
    run = LedgerRun.plan(db, [example(0), example(1)], [example(row) for row in range(12)], grid=grid)
    finish_train(run)
    run.finish(TEST, "retrieve", retrieved)

    def answer_in(unit: ClaimedUnit) -> Answer:
        """Documentation helps at 0 shots; one row is lost without, another with it."""
        row, helped = unit.example.row, "retrieval" in unit.variant
        if row == 3 + helped:
            return "null"
        right = unit.variant == "pupil/0-shot/retrieval" or row == 0
        return answered(unit.example.reference if right else "wrong")

    run.finish(TEST, "answer", answer_in)
    run.finish(TEST, "judge", judged)
    report = build_report(db, run.run)
    effects = {(each.cell.name, each.against.name): each for each in report.effects}
    assert [(*pair, each.n, each.baseline, each.retrieval) for pair, each in effects.items()] == [
        ("pupil/0-shot/retrieval", "pupil/0-shot", 10, True, True),
        ("pupil/2-shot", "pupil/0-shot", 11, True, False),
        ("pupil/2-shot/retrieval", "pupil/0-shot", 10, True, False),
        ("pupil/2-shot/retrieval", "pupil/2-shot", 10, False, True),
        ("pupil/2-shot/retrieval", "pupil/0-shot/retrieval", 11, False, False),
    ]
    helped, *others, shots = (each.differences["exact_match"] for each in effects.values())
    # Of the ten rows that both answered, one was right without documentation, all with it.
    assert helped.value == pytest.approx(90)
    assert helped.p_value == mcnemar(0, 9)
    p_values = [helped.p_value, 1, 1, 1, mcnemar(0, 10)]
    assert [each.p_holm for each in (helped, *others, shots)] == holm(p_values)
    assert [each.value for each in others] == [0, 0, 0]
    assert helped.p_holm < 0.05
    # Ten rows are too few to call anything significant.
    assert not helped.significant
    documented, shots_effect, crossed = (each.comparison for each in report.axis_effects)
    assert (documented.n, documented.rows, shots_effect.n, crossed.n) == (20, 10, 22, 10)
    assert crossed.differences["exact_match"].value == pytest.approx(-90)
    brief = build_report(db, run.run, brief=True)
    assert brief.effects == ()
    assert [set(each.comparison.differences) for each in brief.axis_effects] == [{"exact_match"}] * 2


def test_the_synthetic_set_is_counted(db: Database) -> None:
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null"), None)
    finish_train(run)
    statistics = build_report(db, run.run).statistics
    assert (statistics.examples, statistics.augmented, statistics.retrieved, statistics.rationales) == (
        5,
        5,
        5,
        4,
    )
    assert statistics.first_pass_correct == 1
    assert [(each.number, each.tried, each.correct) for each in statistics.passes] == [(1, 3, 1)]
    assert (statistics.accepted, statistics.still_wrong, statistics.hint_leaks) == (2, 2, 1)
    assert statistics.wrong_form == {"no_code": 1}
    assert (statistics.failed, statistics.rejected) == ({"refusal": 1}, {"null": 1})
    # One call for each of 5 augmentations, 4 rationales, 3 rationalizations, and the rejected answer.
    assert (statistics.calls, statistics.prompt_tokens, statistics.completion_tokens) == (13, 1300, 260)
    assert statistics.cost_usd == pytest.approx(13 * COST / 1e9)
    assert statistics.words_per_augmentation == 3
    assert statistics.words_per_rationale == 6


def test_failures_and_spending_are_counted_by_stage(db: Database) -> None:
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null"), None)
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.reject(TRAIN, "rationale", Rejection("no_answer"), "x")
    texts = ["It sorts. The answer is", "It sorts and then", "It sorts. It sorts it all. The answer is f(x)"]
    run.finish(
        TRAIN, "rationale",
        lambda unit: reasoned(unit, correct=True) | {"text": texts[unit.example.row % 3]},
    )  # fmt: skip
    assert run.open_grid()
    # A student is not told of an answer sentence where it sees no worked example.
    run.finish(TEST, "answer", lambda unit: answered("x = (", truncated=unit.example.row == 0))
    report = build_report(db, run.run)
    rationale, answers = report.failing
    assert (rationale.stage, rationale.texts, rationale.failing) == ("rationale", 5, 4)
    assert rationale.modes == {"no_code": 2, "no_answer_sentence": 2, "truncation": 2}
    assert rationale.rejected == {"no_answer": 1}
    assert [(each.question_id, each.text) for each in rationale.examples["no_code"]] == [
        ("q0", texts[0]), ("q3", texts[0]),
    ]  # fmt: skip
    assert (answers.texts, answers.failing) == (9, 7)
    assert answers.modes == {"no_answer_sentence": 6, "truncation": 7}
    bought = {each.stage: each for each in report.spending}
    assert {stage: each.calls for stage, each in bought.items()} == {
        "augment": 6,
        "rationale": 6,
        "answer": 9,
    }
    assert bought["augment"].dollars == pytest.approx(6 * COST / 1e9)
    assert bought["augment"].latency == {"p50": 0.25, "p90": 0.25, "p99": 0.25, "max": 0.25}


def test_shown_passages_are_compared_with_the_right_ones(db: Database) -> None:
    passages = {
        "top_k": 2,
        "alternatives": {
            "one": {"top_k": 1, "form": "signature"},
            "bm25": {"method": "bm25", "min_score": 0.5},
            "filler": {"control": "filler", "top_k": 1},
        },
    }
    grid = {"shots": [0], "retrieval": [False, "bm25", True, "one", "filler"], "rationale": ["none"]}
    test = [replace(example(row), oracle=("a", "b")[: 2 - row]) for row in range(3)]
    run = LedgerRun.plan(db, [], test, passages=passages, grid=grid)
    assert build_report(db, run.run).retrieval == ()

    def retrieval_of(unit: ClaimedUnit) -> dict[str, Any]:
        """Row 0 is to be shown a and b, row 1 a; of row 2 nothing is known."""
        names = {"raw": ["b", "a"], "raw/bm25": ["a", "c"], "raw/filler": ["x"]}[unit.variant]
        hits = [
            Hit(Passage(name, name, f"{name}(x)", "x" * 10), 0.6 - 0.2 * at) for at, name in enumerate(names)
        ]
        return {"query": "q", "passages": [hit_record(hit) for hit in hits]}

    assert run.finish(TEST, "retrieve", retrieval_of) == 9
    quality = build_report(db, run.run).retrieval
    assert {each.rows for each in quality} == {2}
    assert [(each.retrieval, each.right, each.shown, each.missed, each.tokens) for each in quality] == [
        ("bm25", 2, 2, 0, 4.0),
        ("yes", 3, 4, 0, 8.0),
        ("one", 1, 2, 1, 1.0),
        ("filler", 0, 2, 2, 4.0),
    ]  # fmt: skip
