"""Rows of a dataset come back from the ledger as they went in, and have names of their own."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, select, update

from models.core.identity import question_of, row_identity
from models.core.types import AnswerTests, Example
from storage.database import Database
from storage.ledger import examples as examples_of
from storage.ledger import queries, runs
from storage.schema import (
    EXAMPLES,
    READY,
    TEST,
    TRAIN,
)
from tests.support.clock import Clock
from tests.support.small_run import claim_units, examples, experiment, ids, units

COLUMNS = {"question": "é 😀 \u2028", "level": 3, "meta": {"ids": ["x", None], "share": 0.5, "right": True}}


def without_request(row: int, columns: dict[str, Any]) -> Example:
    return Example(row, str(row), "", "", has_id=False, columns=columns)


def test_columns_are_kept_as_read(database: Database, clock: Clock) -> None:
    rows = [without_request(0, COLUMNS), Example(1, "1", "r", "c")]
    runs.plan_run(database, "run", experiment(), {TRAIN: rows, TEST: []}, clock())
    assert [each.columns for each in examples_of.examples(database, "run", TRAIN)] == [COLUMNS, {}]
    with database.read() as connection:
        absent = connection.execute(select(func.count()).where(EXAMPLES.c.columns.is_(None))).scalar_one()
    assert absent == 1
    runs.start_run(database, "run", clock())
    ready = [unit.id for unit in units(database, "run", state=READY) if unit.example_id == 1]
    claimed = claim_units(database, "w", ready, clock())
    assert {json.dumps(unit.example.columns) for unit in claimed} == {json.dumps(COLUMNS)}


def test_columns_are_part_of_the_data(database: Database) -> None:
    def digest(columns: dict[str, Any]) -> str:
        return runs.dataset_hash({TRAIN: [without_request(0, columns)], TEST: []})

    assert digest(COLUMNS) == digest(dict(reversed(COLUMNS.items())))
    assert len({digest(COLUMNS), digest(COLUMNS | {"level": 4}), digest({})}) == 3
    # The hash of data without columns, as every release has made it.
    known = "48f2f0f07c770752e0b671bdd8b727030fa088712f9da13a1daaa057d0a3f3d8"
    assert runs.dataset_hash({TRAIN: examples(1), TEST: []}) == known


def test_rows_without_a_request_are_named_by_their_columns(database: Database, clock: Clock) -> None:
    rows = [without_request(row, {"question": text}) for row, text in enumerate(["a", "b", "a", "a"])]
    runs.plan_run(database, "run", experiment(), {TRAIN: rows, TEST: []}, clock())
    dataset = runs.load_run(database, "run").dataset
    repeats = examples_of.equal_rows(database, dataset)
    assert [name for _, name in examples_of.train_identities(database, dataset, repeats)] == [
        row_identity("", "", 0, {"question": "a"}),
        row_identity("", "", 0, {"question": "b"}),
        *(row_identity("", "", n, {"question": "a"}) for n in (1, 2)),
    ]


def test_examples_come_back_as_they_went_in(database: Database, clock: Clock) -> None:
    odd = Example(0, "01", "tab\t 'quote' \\ é 😀 \u2028", 'print("""x""")\n', ("a", "b c"))
    runs.plan_run(database, "odd", experiment(), {TRAIN: [odd], TEST: examples(1)}, clock())
    with database.read() as connection:
        row = connection.execute(select(EXAMPLES).where(EXAMPLES.c.split == TRAIN)).one()
    assert Example(row.row, row.question_id, row.request, row.reference, tuple(row.oracle)) == odd


def test_tests_come_back_as_they_went_in(database: Database, clock: Clock) -> None:
    code = "def check(candidate):\n\tassert candidate('é') == '\u2028'\n"
    tests = AnswerTests(code, "f", "def f(x):\n\treturn ")
    tested = Example(0, "1", "same", "x", (), tests)
    plain = Example(1, "2", "same", "x")
    runs.plan_run(database, "tested", experiment(), {TRAIN: [tested, plain], TEST: examples(1)}, clock())
    runs.start_run(database, "tested", clock())
    claimed_units = claim_units(database, "worker", ids(database, "tested", split=TRAIN), clock())
    assert {claimed.example for claimed in claimed_units} == {tested, plain}
    with database.read() as connection:
        absent = connection.execute(select(func.count()).where(EXAMPLES.c.tests.is_(None))).scalar_one()
    assert absent == 2


def test_tests_are_part_of_the_data() -> None:
    plain, tested = Example(0, "1", "same", "x"), Example(0, "1", "same", "x", (), AnswerTests("assert x"))
    hashes = {runs.dataset_hash({TRAIN: [row], TEST: []}) for row in (plain, tested)}
    assert len(hashes) == 2


def test_rows_tell_if_the_dataset_gives_their_ids(database: Database, clock: Clock) -> None:
    rows = [Example(0, "0", "sort", "x", has_id=False), Example(1, "1-7", "sort", "x")]
    runs.plan_run(database, "ids", experiment(), {TRAIN: rows, TEST: rows[:1]}, clock())
    assert list(queries.questions(database, "ids", TRAIN)) == [question_of("", False, "sort"), "1"]
    with database.write() as connection:
        connection.execute(update(EXAMPLES).values(has_id=None))
    assert list(queries.questions(database, "ids", TRAIN)) == ["0", "1"]


def test_questions_cluster_rows(database: Database, clock: Clock) -> None:
    """By the ids that the data gives, by equal requests without them, or by a column."""
    rows = [
        Example(0, "7-1", "a", "x", columns={"topic": "sort"}),
        Example(1, "7-2", "b", "x", columns={"topic": {"name": "sort"}}),
        Example(2, "2", "c", "x", has_id=False, columns={"topic": "sort"}),
        Example(3, "3", "c", "x", has_id=False, columns={"topic": None}),
        Example(4, "task-1", "c", "x"),
    ]
    run = runs.plan_run(database, "ids", experiment(), {TRAIN: rows, TEST: rows[:2]}, clock())

    def clusters(split: str, column: str = "") -> list[int]:
        labels = [*examples_of.question_labels(database, run.dataset, split, column).values()]
        return [labels.index(label) for label in labels]

    assert clusters(TRAIN) == [0, 0, 2, 2, 4]
    assert clusters(TRAIN, "topic") == [0, 1, 0, 3, 4]
    assert clusters(TRAIN, "topic.name") == [0, 1, 2, 2, 4]
    assert clusters(TEST) == [0, 0]


def test_equal_rows_are_counted(database: Database, clock: Clock) -> None:
    rows = [Example(row, "same", request, "x") for row, request in enumerate(["a", "b", "a", "a"])]
    run = runs.plan_run(database, "equal", experiment(), {TRAIN: rows, TEST: rows[:1]}, clock())
    repeats = examples_of.equal_rows(database, run.dataset)
    assert sorted(repeats.values()) == [1, 2]
    names = [name for _, name in examples_of.train_identities(database, run.dataset, repeats)]
    assert names == [
        row_identity("a", "x"),
        row_identity("b", "x"),
        *(row_identity("a", "x", n) for n in (1, 2)),
    ]
