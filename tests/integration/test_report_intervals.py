"""Intervals of a report in a real ledger: clusters, failed answers, and cells that tell little."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console

from models.core.types import Example
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report, build_report
from producer.results.report.formats import RENDERERS
from producer.results.report.score_columns import FAILED_AS_WRONG
from producer.results.report.terminal import ablation_table
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.ledger_data import Answer, LedgerRun, answered, judged

PLAIN = {"shots": [0], "retrieval": [False], "rationale": ["none"]}


def reported(
    db: Database, ids: list[str], result: Callable[[ClaimedUnit], Answer], **sections: Any
) -> Report:
    """Return the report of a run over test rows with these ids, whose `result` is given by unit."""
    rows = [
        Example(row, name, f"sort {row}", f"answer({row})", columns={"level": row % 2})
        for row, name in enumerate(ids)
    ]
    run = LedgerRun.plan(db, [], rows, **{"grid": PLAIN} | sections)
    run.finish(TEST, "answer", result)
    run.finish(TEST, "judge", judged)
    run.close()
    return build_report(db, run.run)


def always(text: str) -> Callable[[ClaimedUnit], Answer]:
    return lambda unit: answered(text)


def bounds(row: TableRow, name: str, *, with_failed: bool = False) -> tuple[float, float, float]:
    measure = (row.with_failed if with_failed else row.measures)[name]
    return round(measure.value, 2), round(measure.low, 2), round(measure.high, 2)


def terminal_line(report: Report) -> str:
    out = io.StringIO()
    Console(width=160, file=out).print(ablation_table(report))
    lines = out.getvalue().splitlines()
    return next(line for line in lines if line.strip().startswith("0-shot"))


def test_a_cell_that_is_all_wrong_has_an_interval(db: Database) -> None:
    report = reported(db, [f"q{row}" for row in range(20)], always("x = 1"))
    [row] = report.table
    assert bounds(row, "exact_match") == (0.0, 0.0, 16.11)
    assert bounds(row, "parse_rate") == (100.0, 83.89, 100.0)
    assert bounds(row, "bleu4") == (0.0, 0.0, 16.11)
    assert "0.0 [0,16]" in terminal_line(report)


def test_one_row_tells_almost_nothing(db: Database) -> None:
    report = reported(db, ["q0"], always("answer(0)"))
    [row] = report.table
    assert bounds(row, "exact_match") == (100.0, 20.65, 100.0)
    assert bounds(row, "bleu4")[1:] == (0.0, 100.0)
    assert (row.rows, row.questions, row.best) == (1, 1, ())


def test_empty_predictions_are_not_parsed(db: Database) -> None:
    report = reported(db, [f"q{row}" for row in range(10)], always(""))
    [row] = report.table
    assert (bounds(row, "parse_rate")[0], row.unparsable) == (0.0, 10)
    assert bounds(row, "bleu4") == (0.0, 0.0, 27.75)


def test_phrasings_of_a_question_are_one_cluster(db: Database) -> None:
    ids = [f"{question}-{phrasing}" for question in range(10) for phrasing in range(4)]

    def whole_questions(unit: ClaimedUnit) -> Answer:
        return answered(unit.example.reference if unit.example.row < 20 else "wrong")

    report = reported(db, ids, whole_questions)
    [row] = report.table
    assert (row.rows, row.questions) == (40, 10)
    value, low, high = bounds(row, "exact_match")
    # Ten questions that are right or wrong as a whole: Wilson's interval for 20 of 40 is [35, 65].
    assert value == 50
    assert low < 24
    assert high > 76
    note = "40 rows are 10 questions; intervals and tests keep the rows of a question together."
    assert note in report.notes
    assert json.loads(RENDERERS["json"](report))["ablation"][0]["questions"] == 10


def test_a_column_of_the_data_names_the_questions(db: Database) -> None:
    report = reported(db, [f"1-{row}" for row in range(8)], always("wrong"), report={"cluster": "level"})
    assert (report.table[0].rows, report.table[0].questions) == (8, 2)
    assert "8 rows are 2 questions" in " ".join(report.notes)


def test_a_column_that_no_row_has_is_named(db: Database) -> None:
    report = reported(db, ["a", "b"], always("wrong"), report={"cluster": "topic"})
    assert "No test row has the column topic of report.cluster." in report.notes


def test_rows_of_two_seeds_are_kept_together(db: Database) -> None:
    ids = [f"q{row}" for row in range(30)]

    def same(unit: ClaimedUnit) -> Answer:
        return answered(unit.example.reference if unit.example.row % 3 == 0 else "wrong")

    report = reported(db, ids, same, grid=PLAIN | {"seeds": [1, 2]})
    [row] = report.table
    value, low, high = bounds(row, "exact_match")
    assert (row.n, value, row.measures["exact_match"].sd) == (60, 33.33, 0.0)
    # Wilson's interval of 10 of 30 is [19.2, 51.2], of 20 of 60 it is [22.7, 45.9].
    assert low < 20
    assert high > 50


def test_failed_answers_count_as_wrong_in_a_column_of_their_own(db: Database) -> None:
    def result(unit: ClaimedUnit) -> Answer:
        return "refusal" if unit.example.row < 4 else answered(unit.example.reference)

    report = reported(db, [f"q{row}" for row in range(10)], result)
    [row] = report.table
    assert (row.n, row.planned, row.failed) == (6, 10, 4)
    assert bounds(row, "exact_match")[0] == 100
    assert bounds(row, "exact_match", with_failed=True) == (60.0, 31.27, 83.18)
    assert bounds(row, "bleu4", with_failed=True)[0] < 60
    for name in ("markdown", "latex", "html"):
        assert FAILED_AS_WRONG in RENDERERS[name](report)
    assert "100.0 [61,100] 60.0 [31,83]" in " ".join(terminal_line(report).split())
    [cell] = json.loads(RENDERERS["json"](report))["ablation"]
    assert (cell["answers_failed"], cell["scores_with_failed"]["exact_match"]["value"]) == (4, 60)
    line = next(csv.DictReader(io.StringIO(RENDERERS["csv"](report))))
    assert (line["failed"], line["exact_match_with_failed"]) == ("4", "60.0000")


def test_a_cell_that_failed_as_a_whole_is_all_wrong_and_has_no_score(db: Database) -> None:
    report = reported(db, ["q0", "q1"], lambda unit: "refusal")
    [row] = report.table
    assert (row.n, row.measures) == (0, {})
    assert bounds(row, "exact_match", with_failed=True) == (0.0, 0.0, 65.76)
    assert "-" in terminal_line(report)
    assert "0.0 [0,66]" in terminal_line(report)


def test_without_failed_answers_there_is_no_second_column(db: Database) -> None:
    report = reported(db, ["q0", "q1"], always("wrong"))
    assert FAILED_AS_WRONG not in RENDERERS["markdown"](report)
    assert json.loads(RENDERERS["json"](report))["ablation"][0]["scores_with_failed"] == {}


def test_pass_at_k_counts_failed_answers_as_wrong_beside_it(db: Database) -> None:
    def executed(unit: ClaimedUnit) -> Answer:
        outcome = {"outcome": "passed"}
        return {"prediction": "x", "exact_match": False, "execution": outcome, "reference_execution": outcome}

    rows = [Example(row, f"q{row}", f"sort {row}", "x") for row in range(8)]
    students = [{"backend": "embedded", "name": name} for name in ("every", "some", "none")]
    run = LedgerRun.plan(db, [], rows, grid=PLAIN, students=students, judge={"execution": True})

    def answer(unit: ClaimedUnit) -> Answer:
        fails = unit.variant.startswith("none") or (unit.variant.startswith("some") and unit.example.row < 2)
        return "refusal" if fails else answered("x")

    run.finish(TEST, "answer", answer)
    run.finish(TEST, "judge", executed)
    every, some, none = build_report(db, run.run).table
    assert (bounds(every, "pass@1"), every.with_failed) == ((100.0, 67.56, 100.0), {})
    assert bounds(some, "pass@1") == (100.0, 60.97, 100.0)
    assert bounds(some, "pass@1", with_failed=True)[0] == 75
    # A cell whose answers all failed has no executed row, and all of them are wrong.
    assert none.measures == {}
    assert bounds(none, "pass@1", with_failed=True) == (0.0, 0.0, 32.44)
