"""Two runs in a real ledger, compared row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.core.metrics.scores import score
from models.core.metrics.significance import mcnemar
from producer.results.diff import changed_keys
from storage.database import Database
from storage.schema import TEST, TRAIN
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    COST,
    LedgerRun,
    answered,
    augmented,
    example,
    judged,
    reasoned,
    retrieved,
)

ROWS = 12


def finished(db: Database, run_id: str, right: set[int], **sections: Any) -> LedgerRun:
    """Train rows and test rows of these numbers are right, in every cell, at the first pass."""
    train, test = ([example(row, f"{split} {row}") for row in range(ROWS)] for split in ("sort", "count"))
    run = LedgerRun.plan(db, train, test, run_id, **sections)
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=unit.example.row in right))
    run.finish(TRAIN, "rationalize", lambda unit: reasoned(unit, correct=False))
    run.open_grid()
    run.finish(
        TEST,
        "answer",
        lambda unit: answered(unit.example.reference if unit.example.row in right else "wrong()"),
    )
    run.finish(TEST, "judge", judged)
    return run


def compared(capsys: pytest.CaptureFixture[str], *runs: str) -> dict[str, Any]:
    assert starmill("diff", *runs, "--json") == 0
    comparison: dict[str, Any] = json.loads(capsys.readouterr().out)
    return comparison


def test_flipped_answers_are_counted_with_significance(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 to 8 are right before, 7 to 9 after: seven are lost, one is gained."""
    finished(db, "old", set(range(9)))
    finished(db, "new", {7, 8, 9}, seed=1, teacher={"backend": "openai", "model": "teacher_2"})
    comparison = compared(capsys, "old", "new")
    assert comparison["same_data"]
    assert comparison["warnings"] == [
        "seeds differ, and part of each difference is chance: seed is 0 in A, 1 in B"
    ]
    assert comparison["configuration"] == {"seed": [0, 1], "teacher.model": ["teacher_1", "teacher_2"]}
    cells = {(cell["cell"]["stage"], cell["cell"]["variant"]): cell for cell in comparison["cells"]}
    assert set(cells) == {
        ("rationale", "first pass"), ("rationalize", "after all passes"), ("answer", "pupil/0-shot"),
        ("answer", "pupil/2-shot"), ("answer", "pupil/2-shot/star"),
    }  # fmt: skip
    for cell in cells.values():
        assert (cell["n"], cell["lost"], cell["gained"]) == (ROWS, 7, 1)
        assert (cell["before"], cell["after"]) == (75.0, 25.0)
        assert cell["p_value"] == pytest.approx(mcnemar(7, 1))
        right = cell["differences"]["right"]
        assert (right["value"], right["enough_rows"]) == (-50, False)
        assert right["low"] < -50 < right["high"] < 0 < right["least_visible"]
    bleu = cells["answer", "pupil/0-shot"]["bleu4"]
    assert bleu["difference"] < bleu["high"] < 0
    assert cells["rationale", "first pass"]["bleu4"] is None
    lost = cells["answer", "pupil/0-shot"]["lost_examples"]
    assert [(flip["row"], flip["before"], flip["after"]) for flip in lost] == [
        (row, f"answer({row})", "wrong()") for row in range(3)
    ]
    [gained] = cells["rationale", "first pass"]["gained_examples"]
    assert (gained["question_id"], gained["before"], gained["after"]) == ("q9", "wrong()", "answer(9)")
    # The second run asked the same: it bought only what the first had no need of.
    worth, bought = (comparison["spending"]["second"][name] for name in ("answers", "bought"))
    assert worth["answer"]["cost_usd"] == pytest.approx(3 * ROWS * COST / 1e9)
    assert "answer" not in bought
    assert bought["rationalize"]["calls"] == 7


def test_rows_of_the_cells_that_changed_most_are_printed(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five cells have changed rows."""
    finished(db, "old", {0})
    finished(db, "new", {1})
    assert starmill("diff", "old", "new") == 0
    printed = capsys.readouterr().out
    assert printed.count(": lost, 1 of 1") == 3
    assert "Rows of 2 more cells changed. `starmill diff old new --json` has them" in " ".join(
        printed.split()
    )
    assert all(cell["lost_examples"] for cell in compared(capsys, "old", "new")["cells"])


def test_diff_of_a_run_with_itself_is_empty(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    finished(db, "old", {1})
    assert starmill("diff", "old", "old") == 0
    printed = capsys.readouterr().out
    assert "The configurations are the same." in printed
    assert "\x1b[" not in printed
    assert all(cell["p_value"] == 1.0 for cell in compared(capsys, "old", "old")["cells"])


def test_cells_of_only_one_run_are_named(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    finished(db, "old", {1})
    finished(db, "new", {1}, grid={"shots": [0], "retrieval": [False], "rationale": ["none"]})
    assert starmill("diff", "old", "new") == 0
    assert "only in A: answer pupil/2-shot, answer pupil/2-shot/star" in capsys.readouterr().out


def test_runs_over_other_data_are_refused(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    finished(db, "old", {1})
    other = LedgerRun.plan(db, [example(0, "another request")], [], "new")
    other.finish(TRAIN, "augment", augmented)
    other.finish(TRAIN, "retrieve", retrieved)
    other.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=True))
    assert starmill("diff", "old", "new") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "starmill: runs old and new are over other data: no row is in both; compare runs of one dataset"
    )


def test_runs_over_grown_data_are_compared_on_common_rows(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id, rows in (("old", 2), ("new", 3)):
        run = LedgerRun.plan(db, [example(row) for row in range(rows)], [], run_id)
        run.finish(TRAIN, "augment", augmented)
        run.finish(TRAIN, "retrieve", retrieved)
        run.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=True))
    comparison = compared(capsys, "old", "new")
    assert not comparison["same_data"]
    assert [cell["n"] for cell in comparison["cells"]] == [2, 2]


def test_several_seeds_are_one_row(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"shots": [0], "retrieval": [False], "rationale": ["none"], "seeds": [0, 1, 2]}
    finished(db, "old", set(range(12)), grid=grid)
    finished(db, "new", set(), grid=grid)
    [answer] = [cell for cell in compared(capsys, "old", "new")["cells"] if cell["cell"]["stage"] == "answer"]
    assert (answer["n"], answer["lost"], answer["before"], answer["after"]) == (ROWS, 12, 100.0, 0.0)
    # 2 of 4,096 ways to swap rows are as far apart.
    assert answer["p_value"] == pytest.approx(2 / 4096)
    assert answer["answers"] == 3 * ROWS


def test_score_over_seeds_is_the_mean_of_theirs(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """One seed answers a row by one long text more than the other: pooled texts would weigh it more."""
    grid = {"shots": [0], "retrieval": [False], "rationale": ["none"], "seeds": [0, 1]}
    for run_id, texts in (("old", ["answer(0)", "x"]), ("new", ["answer(0)", "answer(0) " * 30])):
        run = LedgerRun.plan(db, [], [example(0)], run_id, grid=grid)
        run.finish(TEST, "answer", lambda unit, texts=texts: answered(texts[unit.sample]))
        run.finish(TEST, "judge", judged)
    [cell] = compared(capsys, "old", "new")["cells"]
    before, after = (score([text], ["answer(0)"])["bleu4"] for text in ("x", "answer(0) " * 30))
    assert cell["differences"]["bleu4"]["value"] == pytest.approx((after - before) / 2, abs=1e-4)


def test_runs_by_other_rules_metrics_and_seeds_are_warned_of(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"shots": [0], "retrieval": [False], "rationale": ["none"]}
    finished(db, "old", {1}, grid=grid)
    judge = {"extraction": "paper", "metrics": ["bleu4", "chrf"]}
    finished(db, "new", {1}, grid=grid | {"seeds": [0, 1]}, judge=judge, rationale={"correctness": "tree"})
    assert starmill("diff", "old", "new") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert notes == [
        "Note: rules differ, so that equal answers may have other verdicts: rationale.correctness is strict "
        "in A, tree in B; judge.extraction is strict in A, paper in B.",
        "Note: metrics differ, and only those of both runs are compared: judge.metrics is "
        '["bleu4", "char_bleu", "exact_match", "parse_rate"] in A, ["bleu4", "chrf"] in B.',
        "Note: seeds differ, and part of each difference is chance: grid.seeds is [0] in A, [0, 1] in B.",
    ]
    [answer] = [cell for cell in compared(capsys, "old", "new")["cells"] if cell["cell"]["stage"] == "answer"]
    # The answers with the second seed have none to be compared with.
    assert (answer["n"], answer["answers"], set(answer["differences"])) == (ROWS, ROWS, {"right", "bleu4"})


def test_keys_of_configurations() -> None:
    first = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": 1}], "same": {}}
    second = {"a": {"b": 1, "c": [1]}, "d": [{"e": 2}, {"e": 3}], "same": {}}
    assert changed_keys(first, second) == {"a.c": ([1, 2], [1]), "d.0.e": (1, 2), "d.1.e": (None, 3)}


def test_rows_are_compared_wherever_they_stand(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """A line was added at the top; without ids, all ids move with the places."""
    for run_id, requests in (("old", ["a", "b", "b"]), ("new", ["added", "a", "b", "b"])):
        rows = [example(row, request, "f()", str(row)) for row, request in enumerate(requests)]
        run = LedgerRun.plan(db, rows, [], run_id)
        run.finish(TRAIN, "augment", augmented)
        run.finish(TRAIN, "retrieve", retrieved)
        run.finish(
            TRAIN,
            "rationale",
            lambda unit: reasoned(unit, correct=unit.example.row == 0 or unit.run_id == "new"),
        )
    [cell, *_] = compared(capsys, "old", "new")["cells"]
    assert (cell["n"], cell["lost"], cell["gained"]) == (3, 0, 2)
    assert [flip["row"] for flip in cell["gained_examples"]] == [1, 2]
