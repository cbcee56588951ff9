"""Flower's memory is bounded, however many tasks there are."""

from __future__ import annotations

import re
import uuid
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from celery.events import EventDispatcher

from tests.support.flower_process import FlowerProcess, running_flower
from tests.support.pipeline import Home, wait_until

STEP = 600  # tasks; Redis drops a subscriber that is too far behind
ARGUMENTS = "demo-1a2b units {} +7, row train/{}"


@pytest.mark.scale
@pytest.mark.timeout(1800)
def test_twice_as_many_events_take_no_more_memory(redis_url: str, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", {"STARMILL_REDIS_URL": redis_url})
    with running_flower(home) as flower:
        first = after(flower, redis_url, 100_000)
        second = after(flower, redis_url, 100_000)
        print(f"MiB after 100,000 and 200,000 task events: {first:.0f}, {second:.0f}")
        assert second < 1.2 * first
        assert second < 300


def after(flower: FlowerProcess, redis_url: str, events: int) -> float:
    """MiB that Flower takes when it has seen so many more events of tasks."""
    before = seen(flower)
    with Celery(broker=redis_url) as app, app.connection() as connection:
        dispatcher = EventDispatcher(connection, hostname="teacher@host", app=app)
        sent = 0
        while sent < events:
            for _ in range(STEP):
                sent += send_task(dispatcher, sent)
            least = before + sent - 3 * STEP
            wait_until(partial(has_seen, flower, least), "Flower keeps up")
        wait_until(partial(has_seen, flower, before + sent), "Flower saw all")
    return flower.memory_mib()


def send_task(dispatcher: EventDispatcher, number: int) -> int:
    """The events of one task, as a worker sends them; how many they are."""
    task = str(uuid.uuid4())
    name, args = "starmill.rationale", ARGUMENTS.format(number, number)
    dispatcher.send(
        "task-received", uuid=task, name=name, args=args, kwargs="run demo-20261126-021500-1a2b", retries=0
    )
    dispatcher.send("task-started", uuid=task)
    dispatcher.send("task-succeeded", uuid=task, result="None", runtime=2.5)
    return 3


def has_seen(flower: FlowerProcess, events: int) -> bool:
    return seen(flower) >= events


def seen(flower: FlowerProcess) -> int:
    """Events of tasks, by Flower's own count."""
    counts = re.findall(rb'flower_events_total\{.*type="task-.*\} ([\d.e+]+)', flower.get("/metrics")[1])
    return int(sum(map(float, counts)))
