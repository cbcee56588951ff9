"""The content of exported rows, and the source of each."""

from __future__ import annotations

from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from models.core.pipeline.rounds import SAMPLE
from models.core.types import Rejection
from producer.results.export.columns import prompt_sha256
from producer.results.report.build import build_report
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.ledger.queries import iter_rows as finished_rows
from storage.schema import FAILED, GENERATIONS, TEST, TRAIN, UNITS
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    COST,
    HARD,
    LEAK,
    REFUSED,
    RIGHT,
    STAR,
    WRONG,
    LedgerRun,
    answer,
    augmented,
    example,
    finish_test,
    finish_train,
    judged,
    plan_mixed,
    reasoned,
    retrieved,
)


def words_of(field: str, row: dict[str, Any]) -> str:
    """Return the words that `LedgerRun` asks for the unit that a row names."""
    _, _, stage, variant, sample = row["provenance"]["unit"].split("/")
    return f"{field} {(stage, variant, int(sample))}"


def test_a_voted_row_rests_on_all_samples(db: Database) -> None:
    run = plan_mixed(db, rationale={"samples": 3})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)

    def drawn(claimed: ClaimedUnit) -> dict[str, Any] | str:
        if claimed.variant == SAMPLE:
            return "null" if claimed.sample == 0 else reasoned(claimed, correct=claimed.example.row == RIGHT)
        return {"elected": 1, "votes": {"samples": 2, "winner": 1, "groups": 2}}

    assert run.finish(TRAIN, "rationale", drawn) == 5 * 3
    assert run.finish(TRAIN, "rationale", drawn) == 5
    run.finish(TRAIN, "rationalize", lambda claimed: reasoned(claimed, correct=claimed.example.row == STAR))
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    rows = read_jsonl(Path("rows.jsonl"))
    assert [(row["row"], row["source"], row["pass"]) for row in rows[1:3]] == [
        (RIGHT, "first_pass", 0),
        (STAR, "star", 1),
    ]
    stored: dict[tuple[int, str, int], str | None] = {
        (unit.number, unit.variant, unit.sample): unit.generation
        for unit in finished_rows(db, run.run.id, stages=("augment", "rationale", "rationalize"))
    }
    assert stored[RIGHT, "", 0] == stored[RIGHT, SAMPLE, 2]
    for row, made in ((RIGHT, []), (STAR, [stored[STAR, "pass-1", 0]])):
        calls = rows[row]["provenance"]["generations"]
        assert calls[1:] == [stored[row, SAMPLE, 1], stored[row, SAMPLE, 2], *made]
        assert len(set(calls)) == len(calls)
        assert rows[row]["provenance"]["cost_usd"] == pytest.approx(len(calls) * COST / 1e9)
    statistics = build_report(db, run.run).statistics
    assert (statistics.rationales, statistics.first_pass_correct, statistics.accepted) == (5, 1, 2)
    assert statistics.failed == {"null": 5}


def test_each_right_rationale_is_a_row(db: Database) -> None:
    """Rows 0 to 4 are never right; right three times; wrong in between; right once; right at the end."""
    right = {RIGHT: {0, 1, 2}, STAR: {1, 3}, WRONG: {2}, REFUSED: {3}}
    run = plan_mixed(db, rationale={"passes": 3, "stop_at": 2})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    ended = [
        run.finish(TRAIN, stage, lambda claimed, tried=tried: reasoned(
            claimed, correct=tried in right.get(claimed.example.row, ())))
        for tried, stage in enumerate(("rationale", "rationalize", "rationalize", "rationalize"))
    ]  # fmt: skip
    assert ended == [5, 5, 4, 4]
    assert starmill("export", "small", "--only", "accepted", "-o", "right.jsonl") == 0
    assert starmill("export", "small", "-o", "all.jsonl") == 0
    rows = read_jsonl(Path("right.jsonl"))
    assert [(row["row"], row["pass"], row["source"]) for row in rows] == [
        (RIGHT, 0, "first_pass"), (RIGHT, 1, "star"), (STAR, 1, "star"), (STAR, 3, "star"),
        (WRONG, 2, "star"), (REFUSED, 3, "star"),
    ]  # fmt: skip
    [wrong, *others] = read_jsonl(Path("all.jsonl"))
    assert (wrong["row"], wrong["pass"], wrong["source"], others) == (LEAK, 3, "wrong", rows)
    # The augmentation is named in every row, and paid for in the first of its example.
    assert [len(row["provenance"]["generations"]) for row in rows] == [2, 2, 3, 3, 4, 5]
    costs = [row["provenance"]["cost_usd"] for row in rows]
    assert costs == pytest.approx([calls * COST / 1e9 for calls in (2, 1, 3, 2, 4, 5)])
    statistics = build_report(db, run.run).statistics
    assert (statistics.first_pass_correct, statistics.accepted, statistics.still_wrong) == (1, 4, 1)
    assert [(each.tried, each.correct) for each in statistics.passes] == [(4, 1), (3, 1), (2, 1)]


def test_a_synthetic_row_tells_where_it_comes_from(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan_mixed(db)
    finish_train(run)
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    assert capsys.readouterr().err.splitlines()[0] == "wrote 4 rows to rows.jsonl"
    rows = read_jsonl(Path("rows.jsonl"))
    assert [(row["row"], row["source"], row["pass"], row["correct"], row["hint_leak"]) for row in rows] == [
        (LEAK, "wrong", 1, False, True),
        (RIGHT, "first_pass", 0, True, False),
        (STAR, "star", 1, True, False),
        (WRONG, "wrong", 1, False, False),
    ]
    star = rows[STAR]
    generations = star["provenance"].pop("generations")
    assert len(set(generations)) == 3
    asked = star["provenance"].pop("prompt_sha256")
    assert asked == prompt_sha256({"messages": [{"role": "user", "content": words_of("train 2", star)}]})
    assert star == {
        "prompt": "sort 2. This requires sorting.\n\n",
        "completion": "It sorts. The answer is answer(2)",
        "question_id": "q2",
        "row": 2,
        "request": "sort 2",
        "augmentation": "This requires sorting.",
        "query": "sort 2. This requires sorting.",
        "passages": [{"id": "p1", "name": "sorted", "score": 0.5}],
        "rationale": "It sorts. The answer is answer(2)",
        "answer": "answer(2)",
        "reference": "answer(2)",
        "correct": True,
        "source": "star",
        "hint_leak": False,
        "round": 1,
        "pass": 1,
        "provenance": {
            "run": "small-1",
            "experiment": "small",
            "teacher": "teacher_1",
            "unit": "train/2/rationalize/pass-1/0",
            "passages": ["p1"],
            "rule": "strict",
            "cost_usd": pytest.approx(3 * COST / 1e9),
            "starmill": version("starmill"),
        },
    }
    assert starmill("export", "small", "-o", "rows.jsonl", "--only", "accepted") == 0
    assert [row["row"] for row in read_jsonl(Path("rows.jsonl"))] == [RIGHT, STAR]


def test_rows_of_two_equal_runs_differ_in_the_run_alone(db: Database) -> None:
    for run_id in ("small-1", "small-2"):
        finish_train(plan_mixed(db, run_id))
        assert starmill("export", run_id, "-o", f"{run_id}.jsonl") == 0
    first, second = (Path(f"{name}.jsonl").read_text() for name in ("small-1", "small-2"))
    assert first != second
    assert first == second.replace('"run": "small-2"', '"run": "small-1"')


def test_a_call_that_augments_several_requests_is_paid_once(db: Database) -> None:
    run = plan_mixed(db, augment={"batch_size": 5})
    run.share_call(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda claimed: reasoned(claimed, correct=True))
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    costs = [row["provenance"]["cost_usd"] for row in read_jsonl(Path("rows.jsonl"))]
    assert costs == pytest.approx([(1 + 1 / 5) * COST / 1e9] * 5)


@pytest.mark.parametrize(("price", "cost"), [({}, None), ({"price": {"input": 1, "output": 1}}, 0.0)])
def test_a_cost_that_nobody_knows_is_not_zero(db: Database, price: Any, cost: float | None) -> None:
    models = {"backend": "openai", "model": "large"}, {"backend": "openai", "model": "small", "name": "pupil"}
    teacher, student = (model | price for model in models)
    run = plan_mixed(db, teacher=teacher, students=[student])
    finish_train(run)
    finish_test(run)
    with db.write() as connection:
        connection.execute(update(GENERATIONS).values(cost_nano_usd=0))
    for what in ("synthetic", "answers"):
        assert starmill("export", "small", "--what", what, "-o", "rows.jsonl") == 0
        assert {row["provenance"]["cost_usd"] for row in read_jsonl(Path("rows.jsonl"))} == {cost}
        assert starmill("export", "small", "--what", what, "-o", "rows.parquet") == 0


def test_reasoning_is_exported_only_when_wanted(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    with db.write() as connection:
        connection.execute(update(GENERATIONS).values(reasoning="hm"))
    for what in ("synthetic", "answers"):
        assert starmill("export", "small", "--what", what, "-o", "plain.jsonl") == 0
        assert starmill("export", "small", "--what", what, "--reasoning", "-o", "thoughts.jsonl") == 0
        plain, thoughts = read_jsonl(Path("plain.jsonl")), read_jsonl(Path("thoughts.jsonl"))
        assert thoughts == [{**row, "reasoning": "hm"} for row in plain]
    assert starmill("export", "small", "--reasoning", "--format", "parquet", "-o", "thoughts.parquet") == 0
    assert starmill("export", "small", "--reasoning", "--what", "failures", "-o", "failures.jsonl") == 2


def test_answers_carry_their_cell_and_verdict(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    dropped = {"passages": 2, "exemplars": 1}
    run.finish(
        TEST,
        "answer",
        lambda claimed: (
            answer(claimed) | ({"dropped": dropped} if claimed.variant.endswith("2-shot") else {})
        ),
    )
    run.finish(TEST, "judge", lambda claimed: judged(claimed) if claimed.variant.endswith("0-shot") else None)
    assert starmill("export", "small", "--what", "answers", "-o", "answers.jsonl") == 0
    rows = read_jsonl(Path("answers.jsonl"))
    assert [(row["row"], row["variant"]) for row in rows] == [
        (row, variant)
        for row in range(3)
        for variant in ("pupil/0-shot", "pupil/2-shot", "pupil/2-shot/star")
    ]
    right, unjudged = rows[3], rows[4]
    assert right["prediction"] == right["text"] == right["reference"] == HARD
    assert (right["exact_match"], right["shots"], right["seed"]) == (True, 0, 0)
    assert (unjudged["prediction"], unjudged["exact_match"]) == (None, None)
    assert (right["correct"], right["verdict"], right["verdict_text"]) == (None, None, None)
    assert unjudged["exemplars"] == [1, 2]
    assert (unjudged["dropped"], right["dropped"]) == (dropped, {"passages": 0, "exemplars": 0})
    lineage = right["provenance"]
    assert (lineage["unit"], lineage["rule"]) == ("test/1/answer/pupil/0-shot/0", "strict")
    assert len(lineage["prompt_sha256"]) == len(lineage["generation"]) == 64


def test_answers_have_what_a_judge_model_said(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    run.finish(TEST, "answer", answer)
    with db.read() as connection:
        key, text = connection.execute(select(GENERATIONS.c.key, GENERATIONS.c.answer).limit(1)).one()

    def verdict(claimed: ClaimedUnit) -> dict[str, Any] | str:
        stored = judged(claimed)
        assert isinstance(stored, dict)
        said = {"correct": False, "verdict": {"said": "wrong", "generation": key}}
        return "no_verdict" if claimed.example.row == 1 else stored | said

    run.finish(TEST, "judge", verdict)
    with db.write() as connection:
        lost = UNITS.c.stage == "judge", UNITS.c.state == FAILED
        connection.execute(update(UNITS).where(*lost).values(generation=key))
    assert starmill("export", "small", "--what", "answers", "-o", "answers.jsonl") == 0
    rows = read_jsonl(Path("answers.jsonl"))
    assert len(rows) == 9
    for row in rows:
        expected = (None, "no_verdict", text) if row["row"] == 1 else (False, "wrong", text)
        assert (row["correct"], row["verdict"], row["verdict_text"]) == expected


def test_failures_keep_what_was_rejected(db: Database) -> None:
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null", "no content"), None)
    run.finish(
        TRAIN, "augment", lambda claimed: "refusal" if claimed.example.row == 0 else augmented(claimed)
    )
    assert starmill("export", "small", "--what", "failures", "-o", "failures.jsonl") == 0
    [failure] = read_jsonl(Path("failures.jsonl"))
    assert (failure["stage"], failure["question_id"], failure["reason"], failure["detail"]) == (
        "augment", "q0", "refusal", "why",
    )  # fmt: skip
    assert failure["rejected"] == [{"reason": "null", "detail": "no content", "text": None}]


def test_rows_are_read_as_they_are_written(db: Database) -> None:
    """The first rows of a long run are there before the last are read."""
    from producer.results.export.selection import RowSelection, select_rows

    run = LedgerRun.plan(db, [example(row) for row in range(240)], [])
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda claimed: reasoned(claimed, correct=True))
    streamed = select_rows(db, run.run, RowSelection())
    first = [row["row"] for row in islice(streamed, 5)]
    with db.write() as connection:
        connection.exec_driver_sql("DELETE FROM unit WHERE stage = 'rationale' AND id > 800")
    rest = [row["row"] for row in streamed]
    assert first == [0, 1, 2, 3, 4]
    assert rest == list(range(5, 200))
