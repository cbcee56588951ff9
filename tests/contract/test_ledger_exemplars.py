"""The train examples that a student may be shown, and the parts that it sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from models.core.experiment.axes import RationaleSource
from models.core.pipeline.stages import VECTOR
from models.core.types import Example
from storage.database import Database
from storage.ledger import exemplars, runs
from storage.ledger.exemplars import ReasonedExample, final_rationale
from storage.schema import TEST, TRAIN
from tests.support.clock import Clock
from tests.support.small_run import Hand, experiment, plan, units

# What becomes of each train example, by its row.
RIGHT_AT_ONCE, RIGHT_WITH_HINT, NEVER_RIGHT, NO_RATIONALE, NO_PASSAGES, NO_SECOND_PASS = range(6)

TWO_SEARCHES: dict[str, Any] = {
    "passages": {"alternatives": {"bm25": {"method": "bm25"}}},
    "grid": {"shots": [2], "retrieval": [True, "bm25"], "rationale": ["star"]},
}


def work_through(hand: Hand) -> None:
    def end(stage: str, variant: str, failing: int, right: int) -> None:
        for claimed in hand.take(TRAIN, stage, variant):
            row, name = claimed.example.row, f"{stage} {variant}".strip()
            if row == failing:
                hand.failed(claimed)
            elif row == right:
                hand.correct(claimed, {"text": f"{name} {row}", "correct": True})
            else:
                hand.done(claimed, {"text": f"{name} {row}", "correct": False})

    for claimed in hand.take(TRAIN, "augment"):
        hand.done(claimed, {"query": f"query {claimed.example.row}"})
    for claimed in hand.take(TRAIN, "retrieve"):
        row = claimed.example.row
        if (row, claimed.variant) == (NO_PASSAGES, "augmented") or (row, claimed.variant) == (
            2,
            "augmented/bm25",
        ):
            hand.failed(claimed)
        else:
            hand.done(claimed, {"passages": [{"id": f"{claimed.variant} {row}"}]})
    end("rationale", "", NO_RATIONALE, RIGHT_AT_ONCE)
    end("rationalize", "pass-1", NO_SECOND_PASS, -1)
    end("rationalize", "pass-2", -1, RIGHT_WITH_HINT)


def test_exemplars_are_found_by_their_examples(database: Database, clock: Clock) -> None:
    """Each answer of a student loads some: the units of all other examples must not be read for it."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL chooses by what it has counted")
    statements: list[tuple[str, Any]] = []
    run = plan(database, clock)
    event.listen(
        database.engine, "before_cursor_execute", lambda *call: statements.append((call[2], call[3]))
    )
    exemplars.load_exemplars(database, run.id, [1, 2], "star")
    [(statement, values)] = [each for each in statements if "FROM unit" in each[0]]
    with database.read() as connection:
        [row] = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    assert row.detail.endswith("(run_id=? AND example_id=?)")


def another_run(db: Database, clock: Clock) -> None:
    """On the same examples; its units must not be mixed in."""
    hand = Hand(db, plan(db, clock, "small-2", train=6, seed=1), clock)
    for claimed in hand.take(TRAIN, "augment"):
        hand.done(claimed, {"query": "of another run"})
    for claimed in hand.take(TRAIN, "retrieve"):
        hand.done(claimed, {"passages": []})
    for claimed in hand.take(TRAIN, "rationale"):
        hand.correct(claimed, {"text": "of another run", "correct": True})


def train_rows(db: Database, run_id: str, example_ids: Any) -> list[int]:
    row_of = {
        unit.example_id: row for row, unit in enumerate(units(db, run_id, split=TRAIN, stage="augment"))
    }
    return [row_of[example_id] for example_id in example_ids]


@pytest.mark.parametrize("wrong", [False, True])
def test_pool_holds_the_examples_that_may_be_shown(database: Database, clock: Clock, wrong: bool) -> None:
    run = plan(database, clock, train=6, **TWO_SEARCHES)
    work_through(Hand(database, run, clock))
    another_run(database, clock)

    pool = exemplars.exemplar_pool(database, run)
    assert train_rows(database, run.id, pool) == [0, 1, 2, 3, 5]

    def shown(source: RationaleSource) -> set[int]:
        eligible = exemplars.eligible_examples(database, run, source, wrong=wrong)
        return set(train_rows(database, run.id, eligible))

    assert shown("none") == {0, 1, 2, 3, 5}
    if not wrong:
        assert shown("first_pass") == {RIGHT_AT_ONCE}
        assert shown("star") == {RIGHT_AT_ONCE, RIGHT_WITH_HINT}
    else:
        tried = {RIGHT_AT_ONCE, RIGHT_WITH_HINT, NEVER_RIGHT, NO_SECOND_PASS}
        assert shown("first_pass") == shown("star") == tried


@pytest.mark.parametrize(
    ("source", "rationales"),
    [
        ("none", ["", "", "", ""]),
        ("first_pass", ["rationale 0", "rationale 1", "rationale 2", "rationale 5"]),
        ("star", ["rationale 0", "rationalize pass-2 1", "rationalize pass-2 2", "rationale 5"]),
    ],
)
def test_exemplar_holds_what_its_source_and_variant_ask(
    database: Database, clock: Clock, source: RationaleSource, rationales: list[str]
) -> None:
    run = plan(database, clock, train=6, **TWO_SEARCHES)
    work_through(Hand(database, run, clock))
    another_run(database, clock)
    first, second, third, _, last = exemplars.exemplar_pool(database, run)
    wanted = [third, first, last, second]
    text = dict(zip([0, 1, 2, 5], rationales, strict=True))
    for variant in ("augmented", "augmented/bm25", ""):
        passages = {row: [{"id": f"{variant} {row}"}] if variant else [] for row in (0, 1, 2, 5)}
        if variant == "augmented/bm25":
            passages[2] = []
        shown = exemplars.load_exemplars(database, run.id, wanted, source, variant)
        assert [replace(each, passages=list(each.passages)) for each in shown] == [
            ReasonedExample(
                row, f"sort {row}", f"query {row}", f"answer({row})", text[row], passages[row], {}
            )
            for row in (2, 0, 5, 1)
        ]
    assert exemplars.load_exemplars(database, run.id, [], source) == []


def test_without_augmentation_the_request_is_the_query(database: Database, clock: Clock) -> None:
    run = plan(database, clock, augment={"enabled": False})
    hand = Hand(database, run, clock)
    for claimed in hand.take(TRAIN, "retrieve", "raw"):
        hand.done(claimed, {"passages": [{"id": "p"}]})
    [exemplar] = exemplars.load_exemplars(
        database, run.id, exemplars.exemplar_pool(database, run)[:1], "none", "raw"
    )
    assert (exemplar.query, exemplar.request, exemplar.passages) == ("sort 0", "sort 0", [{"id": "p"}])


def tried(*correct: bool) -> dict[tuple[str, str], dict[str, Any]]:
    """The first pass, and each rationalization after it."""
    names = [("rationale", ""), *(("rationalize", f"pass-{number}") for number in range(1, len(correct)))]
    return {name: {"text": name[1], "correct": right} for name, right in zip(names, correct, strict=True)}


@pytest.mark.parametrize(
    ("results", "chosen"),
    [
        (tried(True), ""),
        (tried(False), ""),
        (tried(False, True), "pass-1"),
        (tried(False, False, False), "pass-2"),
        (tried(*[False] * 11), "pass-10"),
        (tried(*[False] * 10, True), "pass-10"),
        (tried(*[False] * 2, True, *[False] * 8), "pass-2"),
    ],
)
def test_final_rationale_is_the_right_one_or_the_last(
    results: dict[tuple[str, str], dict[str, Any]], chosen: str
) -> None:
    others: dict[tuple[str, str], dict[str, Any]] = {
        ("augment", ""): {"query": "q"},
        ("retrieve", "raw"): {"passages": []},
    }
    for order in (results, dict(reversed(results.items()))):
        final = final_rationale({**others, **order})
        assert final is not None
        assert final["text"] == chosen
    assert final_rationale(others) is None


def test_vectors_of_train_requests_are_read_in_order(database: Database, clock: Clock) -> None:
    grid = {"shots": [2], "retrieval": [False], "rationale": ["none"], "exemplars": "nearest"}
    run = plan(database, clock, train=4, test=2, grid=grid)
    hand = Hand(database, run, clock)
    for claimed in hand.take(TEST, "retrieve", VECTOR):
        hand.done(claimed, {"query": "q", "vector": "of the test split"})
    for claimed in reversed(hand.take(TRAIN, "retrieve", VECTOR)):
        if claimed.example.row == 2:
            hand.failed(claimed)
        else:
            hand.done(claimed, {"query": "q", "vector": f"vector {claimed.example.row}"})
    vectors = exemplars.request_vectors(database, run.id)
    assert [vector for _, vector in vectors] == ["vector 0", "vector 1", "vector 3"]
    assert [example for example, _ in vectors] == sorted(example for example, _ in vectors)
    assert exemplars.exemplar_pool(database, run) == []


def test_questions_that_test_asks_again(database: Database, clock: Clock) -> None:
    """An id that is but the number of its row names no question in test."""

    def rows(*names: str) -> list[Example]:
        return [Example(row, name, f"sort {row}", "x") for row, name in enumerate(names)]

    train = rows("7-1", "8-1", "7-2", "q", "4", "9")
    test = rows("q", "1", "7-9", "10-1", "4", "9")
    runs.plan_run(database, "small-1", experiment(), {TRAIN: train, TEST: test}, clock())
    ids = [unit.example_id for unit in units(database, split=TRAIN, stage="augment")]
    expected = {"7": {ids[0], ids[2]}, "q": {ids[3]}, "9": {ids[5]}}
    assert exemplars.asked_in_test(database, "small-1") == expected
    plan(database, clock, "small-2", train=6, test=0)
    assert exemplars.asked_in_test(database, "small-2") == {}
