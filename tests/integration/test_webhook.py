"""A webhook is told when a run ends, pauses or stands still, and never holds the run up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from producer.feeding import webhook
from producer.feeding.service import ElectedFeeder
from producer.feeding.webhook import RunNotifier
from storage.database import Database
from storage.ledger import runs
from storage.settings import load_settings
from tests.support.clock import Clock
from tests.support.services import closed_port
from tests.support.small_run import Hand, plan
from tests.support.webhook_receiver import WebhookReceiver, receiving

KEY = "sk-live-1234567890"
MINUTE = 60.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookReceiver]:
    monkeypatch.setattr(webhook, "RETRY_SECONDS", 0.0)
    with receiving() as opened:
        monkeypatch.setenv("STARMILL_WEBHOOK_URL", opened.url)
        monkeypatch.setenv("STARMILL_WEBHOOK_STANDSTILL_MINUTES", "10")
        yield opened


def join_senders() -> None:
    for thread in threading.enumerate():
        if thread.name.endswith("(post)"):
            thread.join(20)


def test_a_run_that_pauses_is_told_without_what_providers_and_rows_say(
    db: Database, clock: Clock, receiver: WebhookReceiver
) -> None:
    run = plan(db, clock)
    hand = Hand(db, run, clock)
    first, second, _ = hand.take("train", "augment")
    hand.done(first)
    hand.failed(second, "refusal")
    runs.stop_run(db, run.id, f"key {KEY} is refused: you asked to sort 0", paused=True)
    clock.advance(90)
    notifier = RunNotifier(db, run, load_settings(), clock)
    notifier.tick(over=True)
    notifier.tick(over=True)
    join_senders()
    [document] = receiver.documents()
    units = document.pop("units")
    assert (units["planned"], units["done"], units["failed"]) == (run.planned, 1, 1)
    text = document.pop("text")
    assert text.startswith("Run small-1 is paused. ")
    assert ", 1 failed, cost " in text
    assert text.endswith("; `starmill status small-1` says why")
    assert document == {
        "event": "paused", "run": "small-1", "experiment": "small", "state": "paused", "calls": 0,
        "cost_usd": 0.0, "seconds": 90,
    }  # fmt: skip
    for secret in (KEY, "sort 0", "refused"):
        assert secret not in receiver.bodies[0]


def test_a_run_that_stands_still_is_told_once_until_something_ends(
    db: Database, clock: Clock, receiver: WebhookReceiver
) -> None:
    run = plan(db, clock)
    hand = Hand(db, run, clock)
    notifier = RunNotifier(db, run, load_settings(), clock)

    def pass_minutes(number: int) -> int:
        for _ in range(number):
            clock.advance(MINUTE)
            notifier.tick(over=False)
        join_senders()
        return len(receiver.bodies)

    first, second, _ = hand.take("train", "augment")
    assert pass_minutes(9) == 0
    assert pass_minutes(1) == 1
    assert pass_minutes(30) == 1
    hand.done(first)
    assert pass_minutes(10) == 1
    assert pass_minutes(2) == 2
    hand.done(second)
    assert pass_minutes(5) == 2
    document = receiver.documents()[0]
    assert (document["event"], document["state"]) == ("standing_still", "running")
    assert "stands still: nothing has ended for 10 min" in document["text"]


def test_a_second_try_follows_a_failure(
    db: Database, clock: Clock, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500]
    RunNotifier(db, plan(db, clock), load_settings(), clock).tick(over=True)
    join_senders()
    assert len(receiver.bodies) == 2
    assert receiver.bodies[0] == receiver.bodies[1]
    assert caplog.messages == []


@pytest.mark.parametrize("away", [False, True])
def test_two_failures_are_a_line_without_the_address(
    db: Database,
    clock: Clock,
    receiver: WebhookReceiver,
    away: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.statuses = [404, 404, 404]
    with closed_port() as port, caplog.at_level(logging.WARNING):
        if away:
            monkeypatch.setenv("STARMILL_WEBHOOK_URL", f"http://127.0.0.1:{port}/hooks/s3cret")
        RunNotifier(db, plan(db, clock), load_settings(), clock).tick(over=True)
        join_senders()
    [line] = caplog.messages
    why = "Connection refused" if away else "it answers 404"
    assert line == f"the webhook at 127.0.0.1 was not told of run small-1: {why}"
    assert len(receiver.bodies) == (0 if away else 2)


def test_a_server_that_does_not_answer_holds_nobody_up(
    db: Database, clock: Clock, receiver: WebhookReceiver
) -> None:
    receiver.may_answer.clear()
    RunNotifier(db, plan(db, clock), load_settings(), clock).tick(over=True)
    [sender] = [thread for thread in threading.enumerate() if thread.name.endswith("(post)")]
    assert sender.is_alive()
    assert sender.daemon
    receiver.may_answer.set()
    join_senders()
    assert len(receiver.bodies) == 1


def test_the_process_that_feeds_a_run_tells_its_end(
    db: Database, redis_url: str, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARMILL_REDIS_URL", redis_url)
    run = plan(db, Clock(), train=0, test=0)
    with (
        closing(ElectedFeeder(db, run, load_settings())) as feeder,
        closing(ElectedFeeder(db, run, load_settings(), patience=60.0)) as other,
    ):
        feeder.try_to_lead()
        assert feeder.tick()
        assert other.tick()
    join_senders()
    assert [document["event"] for document in receiver.documents()] == ["finished"]
