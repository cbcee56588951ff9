"""Prompts that are too long for a student lose what matters least, and the answer says what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import worker.clients
from models.adapters.backends.openai import OpenAIBackend
from models.core.recording import recorded_row
from models.core.retrieval.passage_selection import hit_record
from models.core.types import Hit, Passage, Request
from storage.ledger import scheduling
from storage.ledger.history import generations as recorded_generations
from storage.schema import DONE, FAILED, GENERATIONS, REJECTIONS, TEST, TRAIN
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer
from tests.openai_server.replies import words
from tests.support.chores import write_jsonl
from tests.support.clock import Clock
from tests.support.small_run import Hand, ids, plan, units
from worker import execute_unit
from worker.runtime import Runtime

GRID = {"shots": [2], "retrieval": [True], "rationale": ["none"]}
WORDS_OF_A_PASSAGE = 30
EVERYTHING = {"passages": 0, "exemplars": 0}
# Two passages each of two exemplars and of the request.
PASSAGES = 6


@dataclass
class Student:
    """One test row, to be asked of a server with `settings` of its own."""

    runtime: Runtime
    server: OpenAIServer

    def asked(self, **settings: Any) -> Any:
        """The unit after its life."""
        db, clock = self.runtime.db, self.runtime.clock
        assert isinstance(clock, Clock)
        student = {"backend": "server", "name": "pupil", "model": "m", "base_url": self.server.url}
        # Three train rows, of which one is of the test row's own question and never shown.
        run = plan(db, clock, train=3, test=1, grid=GRID, passages={"top_k": 2}, rationale={"passes": 0},
                   augment={"enabled": False}, students=[student | settings])  # fmt: skip
        hand = Hand(db, run, clock)
        for claimed in hand.take(TRAIN, "retrieve") + hand.take(TEST, "retrieve"):
            hand.done(claimed, {"passages": [hit(claimed.example.request, rank) for rank in (1, 2)]})
        for claimed in hand.take(TRAIN, "rationale"):
            hand.done(claimed, {"text": "", "correct": False})
        assert scheduling.open_barrier(db, run)
        self.runtime.wait_for(execute_unit.execute_units(self.runtime, ids(db, stage="answer")))
        [unit] = units(db, stage="answer")
        return unit

    def prompt(self) -> str:
        """The one that was answered."""
        with self.runtime.db.read() as connection:
            [row] = connection.execute(GENERATIONS.select()).all()
        prompt = row.request["prompt"]
        assert isinstance(prompt, str)
        return prompt


def hit(request: str, rank: int) -> dict[str, Any]:
    text = " ".join(["word"] * (WORDS_OF_A_PASSAGE - 1))
    return hit_record(Hit(Passage(f"{request}.{rank}", f"{request}, rank {rank}", "", text), 1.0 / rank))


@contextmanager
def opened(home: Path, redis_url: str) -> Iterator[Runtime]:
    clock = Clock(time.time())
    runtime = Runtime(Settings(home=home, redis_url=redis_url), clock=clock)
    runtime.db.migrate()
    yield runtime
    runtime.close()
    runtime._loop.close()  # a worker leaves that to the end of its process


@pytest.fixture
def student(tmp_path: Path, redis_url: str, openai_server: OpenAIServer) -> Iterator[Student]:
    with opened(tmp_path, redis_url) as runtime:
        yield Student(runtime, openai_server)


def test_prompt_that_fits_is_shown_whole(student: Student) -> None:
    unit = student.asked(max_model_len=4096)
    assert (unit.state, unit.result["dropped"], unit.result["passages"]) == (DONE, EVERYTHING, 2)
    assert len(unit.result["exemplars"]) == 2
    assert student.prompt().count("rank ") == PASSAGES


def test_every_rejected_answer_is_recorded(student: Student) -> None:
    student.server.configure(malformed=1.0, kinds="null")
    unit = student.asked()
    with student.runtime.db.read() as connection:
        rejected = connection.execute(REJECTIONS.select().order_by(REJECTIONS.c.attempt)).all()
    assert (unit.state, unit.reason) == (FAILED, "null")
    assert [row.attempt for row in rejected] == list(range(len(rejected)))
    assert unit.rejections == len(rejected) == student.server.stats()["answers"] > 1


def test_prompt_is_shortened_until_the_server_accepts_it(student: Student) -> None:
    """It is asked again with less until it answers; what is left out is the least."""
    student.server.configure(max_context=2 * WORDS_OF_A_PASSAGE + 40)
    unit = student.asked()
    assert (unit.state, unit.result["dropped"]) == (DONE, {"passages": 4, "exemplars": 0})
    assert (unit.result["passages"], len(unit.result["exemplars"])) == (2, 2)
    prompt = student.prompt()
    assert [prompt.count(f"test 0, rank {rank}") for rank in (1, 2)] == [1, 1]
    assert prompt.count("rank ") == 2
    assert student.server.stats()["statuses"] == {"200": 1, "400": 4}


def test_exemplars_go_when_no_passage_is_left(student: Student) -> None:
    student.server.configure(max_context=15)
    unit = student.asked()
    assert unit.result["dropped"] == {"passages": PASSAGES, "exemplars": 1}
    assert (unit.result["passages"], len(unit.result["exemplars"])) == (0, 1)


def test_a_request_that_is_too_long_by_itself_fails(student: Student) -> None:
    student.server.configure(max_context=3)
    unit = student.asked()
    assert (unit.state, unit.reason, unit.result) == (FAILED, "context_overflow", None)


def test_token_estimate_avoids_calls_that_the_server_would_refuse(student: Student) -> None:
    student.server.configure(max_context=2 * WORDS_OF_A_PASSAGE + 40)
    unit = student.asked(max_model_len=150, params={"max_tokens": 20})
    assert unit.result["dropped"]["passages"] in range(4, PASSAGES)
    assert student.server.stats()["statuses"] == {"200": 1}


def test_a_replay_shows_as_much_as_was_recorded(student: Student, redis_url: str, tmp_path: Path) -> None:
    """Whatever a guess would be."""
    student.server.configure(max_context=2 * WORDS_OF_A_PASSAGE + 40)
    unit = student.asked()
    answers = recorded_generations(student.runtime.db, "small-1")
    path = write_jsonl(
        tmp_path / "r.jsonl", [recorded_row(each.request, each.completion) for each in answers]
    )
    student.server.forget()
    with opened(tmp_path / "again", redis_url) as runtime:
        repeated = Student(runtime, student.server)
        replay = {"backend": "replay", "recording": str(path)}
        again = repeated.asked(**replay, max_model_len=150)
    assert (again.state, again.result, again.generation) == (DONE, unit.result, unit.generation)
    assert student.server.stats()["calls"] == 0


class Counting(OpenAIBackend):
    """Knows its tokens, as a model does that runs in the worker."""

    def count_tokens(self, request: Request) -> int:
        return len(words(request.prompt or ""))


@pytest.fixture
def counting(student: Student, monkeypatch: pytest.MonkeyPatch) -> Student:
    monkeypatch.setattr(
        worker.clients, "open_backend", lambda endpoint, *_: Counting(endpoint, endpoint.base_url)
    )
    return student


def test_tokens_that_are_counted_leave_room_for_the_answer_to_the_word(counting: Student) -> None:
    unit = counting.asked(max_model_len=100, params={"max_tokens": 20})
    dropped = unit.result["dropped"]["passages"]
    assert 0 < dropped < PASSAGES
    length = len(words(counting.prompt()))
    assert length <= 80 < length + WORDS_OF_A_PASSAGE


def test_no_call_is_made_where_the_request_alone_is_known_to_be_too_long(counting: Student) -> None:
    unit = counting.asked(max_model_len=22, params={"max_tokens": 20})
    assert (unit.state, unit.reason) == (FAILED, "context_overflow")
    assert unit.detail == (
        "pupil: the request alone takes 4 tokens, and max_model_len 22 leaves room for 2 beside the answer"
    )
    assert counting.server.stats()["calls"] == 0
