"""Examples that repeat an id or a request of an earlier example in their split and dataset."""

from __future__ import annotations

from storage.database import Database
from storage.ledger import claims
from storage.ledger.examples import repeats
from storage.schema import TEST, TRAIN
from tests.support.ledger_data import LedgerRun, example
from tests.support.small_run import LEASE, ids


def test_repeats_are_counted_in_the_order_of_the_split(database: Database) -> None:
    keys = [("x", "a"), ("x", "b"), ("y", "a"), ("x", "a")]
    train = [example(row, request, question_id=key) for row, (key, request) in enumerate(keys)]
    test = [example(0, "a", question_id="x")]
    LedgerRun.plan(database, train, test, "other", name="other")
    LedgerRun.plan(database, train[::-1], test, "small-1")
    LedgerRun.plan(database, train, test, "small-2")
    counts = repeats(database, "small-2")
    units = claims.claim_units(database, "worker", ids(database, "small-2", stage="augment"), 1.8e9, LEASE)
    row_of = {unit.example_id: unit.example.row for unit in units if unit.split == TRAIN}
    assert {row_of[each]: before for each, before in counts.of_id.items()} == {1: 1, 3: 2}
    assert {row_of[each]: before for each, before in counts.of_request.items()} == {2: 1, 3: 2}
    assert TEST not in {unit.split for unit in units}
