"""Answers of a worker that was killed are taken into the ledger, once and with their price."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models.core.types import Completion, Usage
from producer.feeding.service import ElectedFeeder
from storage.answer_journal import AnswerJournal, journal_folder, take_in_answers
from storage.database import Database
from storage.ledger import counts, purchases
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import CallClaim, Purchase, ReserveResult
from storage.schema import GENERATIONS, RUNS, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, plan, request

CENT = 10**7


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    """Ten cents for everything."""
    teacher = {"backend": "openai", "model": "m", "price": {"input": 1.0}}
    return Hand(database, plan(database, clock, train=30, teacher=teacher, budget_usd=0.1), clock)


@pytest.fixture
def units(hand: Hand) -> list[ClaimedUnit]:
    return hand.take(TRAIN, "augment")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journals"


@pytest.fixture
def journal(folder: Path) -> Iterator[AnswerJournal]:
    """The journal of a worker, which loses its lock by `close`, as it does by the kill."""
    opened = AnswerJournal(folder)
    yield opened
    opened.close()


def reserve(hand: Hand, unit: ClaimedUnit, number: int, owner: str = "next") -> ReserveResult:
    call = CallClaim(unit, request(f"call {number}"), 3 * CENT)
    [decision] = purchases.reserve(hand.db, owner, [call], hand.clock())
    return decision


def answered(
    hand: Hand, journal: AnswerJournal, unit: ClaimedUnit, number: int, text: str = "sorted(x)"
) -> Purchase:
    """Reserve and buy an answer as the worker that is about to be killed, at a price of one cent."""
    assert reserve(hand, unit, number, "dead") is None
    completion = Completion(text, "stop", Usage(100, 40, 20, 7, estimated=True), None, "hm")
    bought = Purchase(request(f"call {number}"), completion, CENT, 0.25, 3 * CENT)
    journal.append(purchases.purchase_row(unit, bought, hand.clock()))
    return bought


def take_in(hand: Hand, folder: Path) -> int:
    return take_in_answers(hand.db, folder, hand.clock())


def charged(hand: Hand) -> int:
    with hand.db.read() as connection:
        return connection.execute(select(RUNS.c.charged_nano_usd)).scalar_one()


def bought_rows(hand: Hand) -> int:
    with hand.db.read() as connection:
        return connection.execute(select(func.count()).where(GENERATIONS.c.done.is_(True))).scalar_one()


def test_taking_in_settles_the_reservation_and_the_price(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    purchase = answered(hand, journal, units[0], 0)
    reserve(hand, units[1], 1, "alive")
    assert charged(hand) == 6 * CENT
    journal.close()
    assert take_in(hand, folder) == 1
    assert charged(hand) == 4 * CENT  # the price, and the reservation of the call that is in flight
    assert reserve(hand, units[0], 0) == purchase.completion  # though the lease of the dead goes on
    spent = counts.spending(hand.db, hand.run.id)
    assert (spent.cost_nano_usd, spent.usage.prompt, spent.estimated) == (CENT, 100, 1)
    assert list(folder.iterdir()) == []


def test_reservation_that_ended_before_is_not_subtracted_twice(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    for number in range(3):
        answered(hand, journal, units[number], number)
    journal.close()
    hand.clock.advance(LEASE + 1)
    reserve(hand, units[3], 3)  # does not fit, so the reservations of the dead are dropped
    assert charged(hand) == 3 * CENT
    assert take_in(hand, folder) == 3
    assert charged(hand) == 6 * CENT


def test_taking_in_twice_changes_nothing(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    """Being killed between the commit and the removal of the file leaves what is restored here."""
    answered(hand, journal, units[0], 0)
    journal.close()
    [path] = folder.iterdir()
    shutil.copy(path, folder.parent / path.name)
    take_in(hand, folder)
    before = charged(hand), bought_rows(hand)
    shutil.copy(folder.parent / path.name, path)
    take_in(hand, folder)
    assert (charged(hand), bought_rows(hand)) == before == (CENT, 1)
    assert list(folder.iterdir()) == []


def test_a_stored_answer_is_not_replaced(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    answered(hand, journal, units[0], 0, text="late")
    stored = Completion("early", "stop", Usage(1, 0, 1))
    hand.done(units[0], purchase=Purchase(request("call 0"), stored, CENT, 0.1, 3 * CENT))
    journal.close()
    take_in(hand, folder)
    assert reserve(hand, units[1], 0) == stored
    assert charged(hand) == CENT


def test_journal_of_a_living_worker_is_left_alone(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    answered(hand, journal, units[0], 0)
    assert take_in(hand, folder) == 0
    assert len(list(folder.iterdir())) == 1
    assert bought_rows(hand) == 0


def test_a_feeder_takes_in_what_it_finds(hand: Hand, units: list[ClaimedUnit], tmp_path: Path) -> None:
    url = hand.db.url.render_as_string(hide_password=False)
    settings = Settings(home=tmp_path / "home", database_url=url)
    journal = AnswerJournal(journal_folder(settings))
    answered(hand, journal, units[0], 0)
    journal.close()
    with closing(ElectedFeeder(hand.db, hand.run, settings)) as feeder:
        feeder.try_to_lead()
    assert bought_rows(hand) == 1


def test_torn_last_line_is_ignored(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for number in range(2):
        answered(hand, journal, units[number], number)
    journal.close()
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    assert take_in(hand, folder) == 1
    assert list(folder.iterdir()) == []
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("broken", [b"not JSON", b"[1]", b'{"key": "k"}', b"\xff\xfe", b""])
def test_unreadable_line_is_kept_aside_with_one_warning(
    broken: bytes, hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for number in range(2):
        answered(hand, journal, units[number], number)
    journal.close()
    [path] = folder.iterdir()
    first, second, end = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, broken, second, end]))
    assert take_in(hand, folder) == 2
    assert take_in(hand, folder) == 0
    [aside] = folder.iterdir()
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(aside) in warning
    assert broken in aside.read_bytes()


def test_an_answer_that_no_database_stores_keeps_no_other_out(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    for number, text in enumerate(("fine", "half of a pair: \ud800", "fine, too")):
        answered(hand, journal, units[number], number, text)
    journal.close()
    assert take_in(hand, folder) == 2
    [aside] = folder.iterdir()
    assert aside.suffix == ".unreadable"


def test_journal_of_an_earlier_release_is_taken_in(
    hand: Hand, units: list[ClaimedUnit], journal: AnswerJournal, folder: Path
) -> None:
    """It knew no name of the model that had answered."""
    answered(hand, journal, units[0], 0)
    journal.close()
    [path] = folder.iterdir()
    row = json.loads(path.read_bytes())
    del row["served"]
    path.write_text(json.dumps(row) + "\n")
    assert take_in(hand, folder) == 1
    assert bought_rows(hand) == 1
