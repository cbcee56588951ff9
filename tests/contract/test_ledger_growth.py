"""Growth in the ledger: rounds open in turn, and candidates come in the order of rows, not of time."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from models.core.growth import Drop
from models.core.pipeline.plan import queues
from storage.database import Database
from storage.ledger import examples, runs, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.schema import READY, TRAIN, WAITING
from tests.support.clock import Clock
from tests.support.small_run import Hand, experiment, plan, units
from worker.steps.grow import JudgedRounds

GROW: dict[str, Any] = {"enabled": True, "rounds": 2, "samples": 2, "least": 1}


def begin(database: Database, clock: Clock, **settings: Any) -> Hand:
    return Hand(database, plan(database, clock, grow=GROW | settings), clock)


def wrote(claimed: ClaimedUnit, *pairs: tuple[str, str, str]) -> dict[str, Any]:
    return {"shown": [f"train/{claimed.example.row}"], "pairs": [list(pair) for pair in pairs]}


def states(hand: Hand, variant: str) -> list[str]:
    return [unit.state for unit in units(hand.db, hand.run.id, variant=variant)]


def test_a_round_opens_when_the_one_before_is_final(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    assert hand.run.planned == 3 * 2 * 2
    assert (states(hand, ""), states(hand, "round-2")) == ([READY] * 6, [WAITING] * 6)
    first = hand.take(TRAIN, "grow", "")
    for claimed in first[1:]:
        hand.done(claimed, wrote(claimed))
    assert scheduling.open_rounds(database, hand.run) == 0
    hand.failed(first[0], "no_pairs")
    assert scheduling.open_rounds(database, hand.run) == 6
    assert states(hand, "round-2") == [READY] * 6
    assert not scheduling.finish_run(database, hand.run.id, clock())
    for claimed in hand.take(TRAIN, "grow", "round-2"):
        hand.done(claimed, wrote(claimed))
    assert scheduling.finish_run(database, hand.run.id, clock())


def test_candidates_come_by_round_row_sample_and_place(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    for variant in ("", "round-2"):
        for claimed in reversed(hand.take(TRAIN, "grow", variant)):
            name = f"{variant or 'round-1'} {claimed.example.row} {claimed.sample}"
            hand.done(claimed, wrote(claimed, (f"{name} a", "x", ""), (f"{name} b", "", "no_answer")))
        scheduling.open_rounds(database, hand.run)
    candidates = list(examples.candidates(database, hand.run, 2))
    assert [each.candidate.request for each in candidates] == [
        f"round-{number} {row} {sample} {index}"
        for number in (1, 2)
        for row in range(3)
        for sample in range(2)
        for index in "ab"
    ]
    assert [(each.round, each.row) for each in candidates[:5]] == [(1, 0)] * 4 + [(1, 1)]
    last = candidates[-1].candidate
    [unit] = [each for each in units(database, variant="round-2", sample=1) if each.needs == 0][-1:]
    assert (last.id, last.flaw, last.shown) == (f"grown-{unit.id}-2", "no_answer", ("train/2",))
    assert [each.round for each in examples.candidates(database, hand.run, 1)] == [1] * 12


def test_a_round_is_read_without_the_others_and_judged_once(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    for variant in ("", "round-2"):
        for claimed in hand.take(TRAIN, "grow", variant):
            hand.done(claimed, wrote(claimed, (f"write {variant or 'first'} anew", "x", "")))
        scheduling.open_rounds(database, hand.run)
    read: list[Any] = []
    event.listen(database.engine, "before_cursor_execute", lambda *sent: read.append(sent[3]))
    second = [each.candidate for each in examples.candidates_of_round(database, hand.run, 2)]
    assert {each.request for each in second} == {"write round-2 anew"}
    assert any("round-2" in _values(sent) for sent in read)
    first = [each.candidate for each in examples.candidates_of_round(database, hand.run, 1)]
    judged = JudgedRounds(examples.growth_filter(database, hand.run))
    kept = [judged.keep(1, first), judged.keep(1, first), judged.keep(2, second)]
    assert [[each.request for each in of_round] for of_round in kept] == [
        ["write first anew"], ["write first anew"], ["write round-2 anew"],
    ]  # fmt: skip


def _values(sent: Any) -> list[Any]:
    return list(sent.values() if isinstance(sent, dict) else sent)


def test_growth_filter_knows_both_splits(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    claimed, *_ = hand.take(TRAIN, "grow", "")
    hand.done(claimed, wrote(claimed, ("sort 1", "x", ""), ("test 0", "x", ""), ("else", "x", "")))
    judging = examples.growth_filter(database, hand.run)
    judged = [judging.judge(each.candidate) for each in examples.candidates(database, hand.run, 1)]
    assert judged == [Drop("similar", "train/1", 1.0), Drop("test", "test/0", 1.0), None]


def test_seeds_are_the_train_rows(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    ids = examples.seed_ids(database, hand.run)
    assert len(ids) == len(set(ids)) == 3
    shown = examples.seed_examples(database, [ids[2], ids[0]])
    assert [(each.name, each.request, each.answer) for each in shown] == [
        ("train/2", "sort 2", "answer(2)"),
        ("train/0", "sort 0", "answer(0)"),
    ]


@pytest.mark.parametrize(
    ("section", "value", "same"),
    [
        ("grid", {"shots": [0], "rationale": ["none"]}, True),
        ("rationale", {"passes": 0}, True),
        ("units_per_task", {"grow": 2}, True),
        ("grow", {**GROW, "requests": 5}, False),
        ("seed", 3, False),
        ("teacher", {"backend": "embedded", "params": {"temperature": 1.0}}, False),
    ],
)
def test_growth_is_another_run_where_something_else_is_asked(section: str, value: Any, same: bool) -> None:
    before, after = experiment(grow=GROW), experiment(**{"grow": GROW, section: value})
    assert (runs.config_hash(before, "data") == runs.config_hash(after, "data")) == same


def test_runs_that_grow_nothing_are_those_that_they_were() -> None:
    plain = experiment()
    assert plain.task
    prompts = plain.task.prompts.model_copy(update={"grow": "other words"})
    reworded = plain.model_copy(update={"task": plain.task.model_copy(update={"prompts": prompts})})
    others = [reworded, experiment(grow={"requests": 9}), experiment(units_per_task={"grow": 2})]
    hashes = {runs.config_hash(each, "data") for each in (plain, *others)}
    assert len(hashes) == 1
    assert runs.config_hash(experiment(grow=GROW), "data") not in hashes
    assert "judge" in queues(plain)
