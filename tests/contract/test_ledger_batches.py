"""Batches: what was filed goes out once, and what comes back is booked once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text

from models.adapters.backends.batch_api import batch_endpoint
from models.core.experiment.endpoints import Price
from models.core.tokens import TokenEstimate
from models.core.types import Completion, Request, Usage
from storage.database import Database
from storage.ledger import batch_enqueue, batches, counts, outcomes, scheduling
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.batches import Batch
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import CallClaim, cost_nano_usd
from storage.schema import GATHERED, GENERATIONS, SETTLED, SUBMITTED, TRAIN, UPLOADED
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, plan, purchase, race, request, units

PRICE = Price(input=2.0, cached_input=1.0, output=10.0)
COST = 60 * 2_000 + 40 * 1_000 + 20 * 10_000
MEGABYTE = 1_000_000


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock, train=6), clock)


def file_all(hand: Hand) -> list[Request]:
    """One call for each train example, filed one second after the other."""
    asked = []
    for claimed in hand.take(TRAIN, "augment"):
        asked.append(request(f"{claimed.example.request}"))
        hand.clock.advance(1)
        assert (
            batch_enqueue.enqueue_for_batch(
                hand.db, "worker", [claimed], CallClaim(claimed, asked[-1]), hand.clock()
            )
            is None
        )
    return asked


def gather(hand: Hand, name: str = "b1", run_id: str = "small-1", **limits: int) -> Batch | None:
    limits = {"max_calls": 100, "max_bytes": MEGABYTE} | limits
    return batches.create_batch(hand.db, run_id, name, batch_endpoint, hand.clock(), **limits)


def gathered(hand: Hand, name: str = "b1", **limits: int) -> list[str]:
    """The keys of a new batch."""
    assert gather(hand, name, **limits)
    return keys_of(hand, name)


def keys_of(hand: Hand, name: str) -> list[str]:
    return [key for key, _ in batches.batch_requests(hand.db, name)]


def completion(words: str = "This requires sorting.") -> Completion:
    return Completion(words, "stop", Usage(100, 40, 20))


def settle(hand: Hand, *keys: str, words: str = "This requires sorting.") -> None:
    batches.store_answers(hand.db, [(key, completion(words)) for key in keys], PRICE, hand.clock())


def generation(hand: Hand, key: str) -> Any:
    with hand.db.read() as connection:
        return connection.execute(select(GENERATIONS).where(GENERATIONS.c.key == key)).one()


def parked(hand: Hand, run_id: str = "small-1") -> list[Any]:
    return [unit for unit in units(hand.db, run_id) if unit.lease_owner == "batch"]


def test_enqueued_calls_become_a_batch(hand: Hand) -> None:
    asked = file_all(hand)
    batch = gather(hand)
    assert batch
    assert (batch.state, batch.requests, batch.endpoint) == (GATHERED, 6, "/v1/chat/completions")
    requests = dict(batches.batch_requests(hand.db, "b1"))
    assert requests == {request.key: request for request in asked}
    assert list(requests) == sorted(requests)
    assert batches.unsettled(hand.db, "small-1") == [batch]
    assert batches.enqueued(hand.db, "small-1") == (0, 0.0)
    assert gather(hand, "b2") is None


def test_the_oldest_calls_go_first_and_the_rest_in_the_next_batch(hand: Hand) -> None:
    keys = [request.key for request in file_all(hand)]
    assert sorted(keys[:4]) == gathered(hand, "b1", max_calls=4)
    assert sorted(keys[4:]) == gathered(hand, "b2", max_calls=4)


def test_a_file_does_not_grow_beyond_its_limit(hand: Hand) -> None:
    file_all(hand)
    assert len(gathered(hand, "b1", max_bytes=800)) == 2
    # One call is sent, however long it is.
    assert len(gathered(hand, "b2", max_bytes=1)) == 1


def test_a_batch_has_one_model_and_one_endpoint(hand: Hand, clock: Clock) -> None:
    first, second, third, *_ = hand.take(TRAIN, "augment")
    completes = Request("openai", "model", (), "complete this")
    other = Request("openai", "other", request().messages)
    for claimed, asked in ((first, request()), (second, completes), (third, other)):
        batch_enqueue.enqueue_for_batch(
            hand.db, "worker", [claimed], CallClaim(claimed, asked), clock.advance(1)
        )
    assert gathered(hand, "b1") == [request().key]
    assert gathered(hand, "b2") == [completes.key]
    assert gathered(hand, "b3") == [other.key]
    assert [batch.endpoint for batch in batches.unsettled(hand.db, "small-1")][1] == "/v1/completions"


def test_racing_producers_gather_a_call_once(hand: Hand) -> None:
    file_all(hand)
    made = race(4, lambda number: gather(hand, f"b{number}", max_calls=2))
    keys = [key for batch in made if batch for key in keys_of(hand, batch.id)]
    assert len(keys) == len(set(keys))
    assert sum(batch.requests for batch in made if batch) == len(keys)


def test_each_state_of_a_batch_is_recorded(hand: Hand) -> None:
    file_all(hand)
    gather(hand)
    batches.set_state(hand.db, "b1", UPLOADED, input_file="file-1")
    batches.set_state(hand.db, "b1", SUBMITTED, remote="batch-1", submitted_at=7.0)
    [batch] = batches.unsettled(hand.db, "small-1")
    assert (batch.state, batch.input_file, batch.remote) == (SUBMITTED, "file-1", "batch-1")


def test_batch_answers_are_recorded_at_the_experiments_price(hand: Hand, clock: Clock) -> None:
    keys = [request.key for request in file_all(hand)]
    gather(hand)
    settle(hand, *keys[:2])
    spent = counts.spending(hand.db, "small-1")
    assert (spent.calls, spent.usage, spent.cost_nano_usd) == (2, Usage(200, 80, 40), 2 * COST)
    row = generation(hand, keys[0])
    assert (row.done, row.lease_owner, row.batch, row.created_at) == (True, None, "b1", clock())
    assert len(parked(hand)) == 4


def test_recording_batch_results_twice_changes_nothing(hand: Hand) -> None:
    keys = [request.key for request in file_all(hand)]
    gather(hand)
    settle(hand, *keys)
    [claimed, *_] = hand.take(TRAIN, "augment")
    settle(hand, *keys, words="another answer")
    settle(hand, "a key that nobody asked for")
    assert counts.spending(hand.db, "small-1").cost_nano_usd == 6 * COST
    assert generation(hand, keys[0]).answer == "This requires sorting."
    assert units(hand.db, id=claimed.unit_id)[0].lease_owner == "worker"


def test_an_answer_that_was_bought_meanwhile_stays(hand: Hand, clock: Clock) -> None:
    [key, *_] = [request.key for request in file_all(hand)]
    gather(hand)
    claimed = hand.take("test", "retrieve")[0]
    outcomes.finish_units(
        hand.db, [outcomes.UnitOutcome(claimed, {}, purchase=purchase(request("sort 0"), cost=5))], clock()
    )
    settle(hand, key, words="late")
    assert (generation(hand, key).answer, generation(hand, key).cost_nano_usd) == ("sorted(x)", 5)
    # Whoever waited for it need not wait on.
    assert len(parked(hand)) == 5


def test_text_that_no_database_stores_is_cleaned(hand: Hand) -> None:
    [key, *_] = [request.key for request in file_all(hand)]
    settle(hand, key, words="a\0b\ud800c\u2028d")
    assert generation(hand, key).answer == "ab?c\u2028d"


def test_usage_that_no_line_reports_is_estimated_from_the_request(hand: Hand) -> None:
    [asked, *_] = file_all(hand)
    untold = Completion("f(x)", "stop", Usage(estimated=True))
    batches.store_answers(hand.db, [(asked.key, untold)], PRICE, hand.clock())
    row, likely = generation(hand, asked.key), TokenEstimate().usage(asked)
    assert row.estimated
    assert (row.prompt_tokens, row.completion_tokens) == (likely.prompt, likely.completion)
    assert row.cost_nano_usd == cost_nano_usd(likely, PRICE) > 0


def test_calls_without_answer_are_enqueued_again(hand: Hand, clock: Clock) -> None:
    keys = [request.key for request in file_all(hand)]
    gather(hand)
    batches.set_state(hand.db, "b1", SUBMITTED, remote="batch-1")
    settle(hand, *keys[:2])
    batches.store_refusals(hand.db, [(keys[2], BatchRefusal("bad_request", "no"))], clock())
    closed = batches.close_batch(hand.db, "b1", SETTLED, "expired", clock())
    assert (closed.state, closed.message, closed.answered, closed.refused) == (SETTLED, "expired", 2, 1)
    assert batches.unsettled(hand.db, "small-1") == []
    assert batches.enqueued(hand.db, "small-1")[0] == 3
    assert len(parked(hand)) == 3
    assert gathered(hand, "b2") == sorted(keys[3:])
    assert batches.close_batch(hand.db, "b1", SETTLED, "again", clock()).message == "expired"
    assert keys_of(hand, "b2") == sorted(keys[3:])


def test_more_calls_are_expected_while_units_may_enqueue(hand: Hand) -> None:
    queues = ["retrieve", "model.large"]
    assert batches.expects_more(hand.db, "small-1", queues)
    file_all(hand)
    assert not batches.expects_more(hand.db, "small-1", ["model.large"])
    assert batches.expects_more(hand.db, "small-1", queues)
    hand.take("test", "retrieve")
    assert batches.expects_more(hand.db, "small-1", queues)


def test_call_of_an_interrupted_run_is_fetched_by_the_next(hand: Hand, clock: Clock) -> None:
    asked = file_all(hand)
    later = Hand(hand.db, plan(hand.db, clock, "small-2", train=6, seed=1), clock)
    for claimed in later.take(TRAIN, "augment"):
        batch_enqueue.enqueue_for_batch(
            hand.db, "worker", [claimed], CallClaim(claimed, asked[claimed.example.row]), clock()
        )
    batch = gather(hand, run_id="small-2")
    assert batch
    assert (batch.run_id, batch.requests) == ("small-2", 6)
    settle(hand, *(request.key for request in asked))
    assert (len(parked(hand)), len(parked(hand, "small-2"))) == (0, 0)
    assert counts.spending(hand.db, "small-2").calls == 6
    assert counts.spending(hand.db, "small-1").calls == 0


def test_batch_is_adopted_only_from_a_run_without_feeder(hand: Hand, clock: Clock) -> None:
    asked = file_all(hand)
    gather(hand)
    later = Hand(hand.db, plan(hand.db, clock, "small-2", train=6, seed=1), clock)
    scheduling.claim_feeding(hand.db, "small-1", "feeder", clock(), LEASE)
    assert batches.adopt_orphans(hand.db, "small-2", clock()) == 0
    clock.advance(LEASE + 1)
    # Nothing that it waits for is in it.
    assert batches.adopt_orphans(hand.db, "small-2", clock()) == 0
    [claimed, *_] = later.take(TRAIN, "augment")
    batch_enqueue.enqueue_for_batch(hand.db, "worker", [claimed], CallClaim(claimed, asked[0]), clock())
    assert batches.adopt_orphans(hand.db, "small-2", clock()) == 1
    assert [batch.id for batch in batches.unsettled(hand.db, "small-2")] == ["b1"]
    assert batches.unsettled(hand.db, "small-1") == []
    settle(hand, *(request.key for request in asked))
    assert counts.spending(hand.db, "small-2").calls == 6
    assert parked(hand) == []


def test_parked_units_and_enqueued_calls_are_read_by_index(hand: Hand) -> None:
    """However many rows there are."""
    wanted = {
        "unit_parked": "SELECT * FROM unit WHERE lease_owner = 'batch' AND generation = 'x'",
        "generation_filed": "SELECT * FROM generation WHERE lease_owner = 'batch' AND batch IS NULL "
        "ORDER BY created_at",
        "generation_batch": "SELECT * FROM generation WHERE batch = 'x'",
    }
    for index, query in wanted.items():
        with hand.db.read() as connection:
            if not hand.db.is_sqlite:
                connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN QUERY PLAN" if hand.db.is_sqlite else "EXPLAIN"
            assert index in str(connection.execute(text(f"{explain} {query}")).all())


def test_units_are_claimed_with_the_call_they_waited_for(hand: Hand) -> None:
    asked = file_all(hand)
    settle(hand, asked[0].key)
    [claimed] = hand.take(TRAIN, "augment")
    assert isinstance(claimed, ClaimedUnit)
    assert claimed.generation == asked[0].key
