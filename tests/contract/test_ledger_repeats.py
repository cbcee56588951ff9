"""Examples that repeat an id or a request of an earlier example in their split and dataset."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from storage.database import Database
from storage.ledger.examples import earlier_rows_of_ids, repeats
from storage.ledger.runs import load_run
from storage.schema import EXAMPLES, TEST, TRAIN
from tests.support.ledger_data import LedgerRun, example
from tests.support.small_run import claim_units, ids


def test_repeats_are_counted_in_the_order_of_the_split(database: Database) -> None:
    keys = [("x", "a"), ("x", "b"), ("y", "a"), ("x", "a")]
    train = [example(row, request, question_id=key) for row, (key, request) in enumerate(keys)]
    test = [example(0, "a", question_id="x")]
    LedgerRun.plan(database, train, test, "other", name="other")
    LedgerRun.plan(database, train[::-1], test, "small-1")
    LedgerRun.plan(database, train, test, "small-2")
    counts = repeats(database, "small-2")
    units = claim_units(database, "worker", ids(database, "small-2", stage="augment"), 1.8e9)
    row_of = {unit.example_id: unit.example.row for unit in units if unit.split == TRAIN}
    assert {row_of[each]: before for each, before in counts.of_id.items()} == {1: 1, 3: 2}
    assert {row_of[each]: before for each, before in counts.of_request.items()} == {2: 1, 3: 2}
    assert TEST not in {unit.split for unit in units}


def test_all_rows_of_an_id_but_the_last_come_before_another(database: Database) -> None:
    """A row's number that stands for an id is none."""
    keys = ["x", "y", "x", "x"]
    test = [example(row, str(row), question_id=key) for row, key in enumerate(keys)]
    numbered = [replace(example(4, "4", question_id="y"), has_id=False)]
    LedgerRun.plan(database, [example(0, "a", question_id="x")], [*test, *numbered], "small-1")
    dataset = load_run(database, "small-1").dataset
    with database.read() as connection:
        row_of = {row.id: row.row for row in connection.execute(select(EXAMPLES.c.id, EXAMPLES.c.row))}
    assert sorted(row_of[each] for each in earlier_rows_of_ids(database, dataset, TEST)) == [0, 2]
    assert not earlier_rows_of_ids(database, dataset, TRAIN)
