"""The cache of answers keeps them for a limited time and size."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from worker.gateway.answer_cache import OVERHEAD_BYTES, AnswerCache, CachedAnswer

HOUR = 3600.0


def answer(body: bytes = b"") -> CachedAnswer:
    return CachedAnswer(200, {}, body)


def test_cached_answer_stays_until_forgotten(clock: Clock) -> None:
    shelf = AnswerCache(HOUR, 10**6, clock)
    shelf.put("a", answer(b"text"))
    assert shelf.get("a") == answer(b"text")
    assert (len(shelf), shelf.bytes) == (1, OVERHEAD_BYTES + 4)
    shelf.forget(["a", "never there"])
    assert shelf.get("a") is None
    assert (len(shelf), shelf.bytes) == (0, 0)


def test_expired_answer_is_dropped(clock: Clock) -> None:
    shelf = AnswerCache(HOUR, 10**6, clock)
    shelf.put("old", answer())
    clock.advance(HOUR / 2)
    shelf.put("young", answer())
    clock.advance(HOUR / 2 - 1)
    assert shelf.get("old")
    clock.advance(1)
    shelf.trim()
    assert (len(shelf), shelf.bytes) == (1, OVERHEAD_BYTES)
    assert shelf.get("young")


def test_oldest_answers_are_evicted_first(clock: Clock) -> None:
    shelf = AnswerCache(HOUR, 3 * OVERHEAD_BYTES + 30, clock)
    for key in "abc":
        shelf.put(key, answer(b"0123456789"))
    shelf.put("d", answer())
    assert [key for key in "abcd" if shelf.get(key)] == ["b", "c", "d"]
    shelf.put("e", answer(b"x" * 4 * OVERHEAD_BYTES))
    assert (len(shelf), shelf.bytes) == (0, 0)


def test_answer_put_again_is_renewed_and_counted_once(clock: Clock) -> None:
    shelf = AnswerCache(HOUR, 10**6, clock)
    shelf.put("a", answer(b"first"))
    clock.advance(HOUR - 1)
    shelf.put("a", answer(b"again"))
    clock.advance(HOUR - 1)
    assert shelf.get("a") == answer(b"again")
    assert shelf.bytes == OVERHEAD_BYTES + 5


@pytest.mark.parametrize(
    ("status", "relayed", "bought"),
    [(200, True, True), (299, True, True), (302, True, False), (429, True, False), (200, False, False)],
)
def test_only_successful_answers_of_the_provider_count_as_bought(
    status: int, relayed: bool, bought: bool
) -> None:
    assert CachedAnswer(status, {}, b"", relayed).bought is bought
