"""The first call of a model is made alone, so that a wrong key costs one call."""

from __future__ import annotations

import asyncio

import pytest

from models.core import errors
from tests.support.virtual_time import run
from worker import first_call
from worker.first_call import FirstCall


class Paused(Exception):
    """The run is paused."""


class Model:
    """Answers each call with the next of `ends` after a second; the last one again and again."""

    def __init__(self, *ends: str | Exception, seconds: float = 1.0) -> None:
        self.ends = list(ends)
        self.seconds = seconds
        self.starts: list[float] = []
        self.paused = False

    async def call(self) -> str:
        self.starts.append(asyncio.get_running_loop().time())
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        await asyncio.sleep(self.seconds)
        if isinstance(end, Exception):
            raise end
        return end

    async def require_running(self) -> None:
        if self.paused:
            raise Paused

    async def one(self, first: FirstCall) -> str | Exception:
        try:
            return await first.make(self.call, self.require_running)
        except errors.AccessError as error:
            await asyncio.sleep(0.1)  # until the ledger has it
            self.paused = True
            return error
        except (errors.ModelError, Paused) as error:
            return error

    async def many(self, count: int) -> list[str | Exception]:
        first = FirstCall()
        return list(await asyncio.gather(*(self.one(first) for _ in range(count))))


def test_others_wait_for_the_first_answer_and_then_go_together() -> None:
    model = Model("hello")
    assert run(model.many(50)) == ["hello"] * 50
    assert model.starts == [0.0] + [1.0] * 49


def test_a_wrong_key_costs_one_call() -> None:
    model = Model(errors.AccessError("the key is refused"))
    ends = run(model.many(50))
    assert len(model.starts) == 1
    assert [type(end) for end in ends] == [errors.AccessError] + [Paused] * 49


def test_a_refused_row_is_an_answer_of_the_model() -> None:
    model = Model(errors.BadRequest("too hot"), "hello")
    run(model.many(50))
    assert model.starts == [0.0] + [1.0] * 49


@pytest.mark.parametrize("error", [errors.Unavailable("503"), errors.StrayRefusal("400")])
def test_an_outage_is_tried_by_one_call_at_a_time(error: errors.ModelError) -> None:
    model = Model(error, error, "hello")
    run(model.many(50))
    assert model.starts == [0.0, 1.0, 2.0] + [3.0] * 47


def test_a_slow_model_is_waited_for_a_while_only() -> None:
    model = Model("hello", seconds=600)
    run(model.many(5))
    assert model.starts == [0.0] + [first_call.MAX_SECONDS] * 4
