"""Figures that the bench reads from a ledger whose rows ended at known times."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.local.supervisor import Supervisor
from storage.database import Database
from storage.settings import Settings
from tests.bench.installation import RUN, Installation
from tests.bench.load import Load
from tests.openai_server.process import OpenAIServer
from tests.support.clock import Clock
from tests.support.small_run import Hand, claim_units, ids, plan, purchase, request


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock, RUN, train=4), clock)


@pytest.fixture
def installation(hand: Hand, tmp_path: Path) -> Installation:
    nowhere = OpenAIServer("http://127.0.0.1:9/v1")
    return Installation(Load(4), nowhere, tmp_path, Settings(), hand.db, Supervisor(tmp_path))


def test_rows_are_final_when_their_augmentation_has_ended(installation: Installation, hand: Hand) -> None:
    assert installation.final() == 0
    first, second, *_ = hand.take("train", "augment")
    hand.done(first)
    hand.failed(second)
    assert installation.final() == 2
    assert installation.final("another run") == 0


def test_the_longest_pause_starts_at_the_kill_at_the_earliest(
    installation: Installation, hand: Hand, clock: Clock
) -> None:
    for claimed, later in zip(hand.take("train", "augment"), (50.0, 10.0, 3.0, 7.0), strict=True):
        clock.advance(later)
        hand.done(claimed)
    end = clock()
    assert installation.longest_pause(end - 25) == 10
    assert installation.longest_pause(end - 14) == 7
    assert installation.longest_pause(end - 9) == 7
    assert installation.longest_pause(end) == 0


def test_only_committed_answers_count_as_bought(installation: Installation, hand: Hand) -> None:
    unit, other, *_ = ids(hand.db, RUN, stage="augment", split="train")
    [claimed, _] = claim_units(hand.db, "worker", [unit, other], hand.clock())
    assert not installation.bought()
    hand.done(claimed, purchase=purchase(request()))
    assert len(installation.bought()) == 1
