"""The gate of a process: calls wait, are let through in order, and little is said to the limiter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from storage.limits.limiter import CallOutcome, CallReport, Decision, Limiter, Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from tests.support.limits import max_in_a_minute
from tests.support.memory_limiter import MemoryLimiter
from tests.support.virtual_time import run
from worker.admission import AdmissionQueue

OK = CallReport(CallOutcome.OK)
FAILED = CallReport(CallOutcome.FAILED)


@dataclass
class Exchange:
    time: float
    in_flight: int
    reports: list[CallReport]
    wants: list[int]


class Limits(MemoryLimiter):
    """Notes what it is told, and needs a millisecond to answer."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(lambda: 1_000_000 + self.loop.time())
        self.exchanges: list[Exchange] = []

    async def exchange(
        self, quota: Quota, owner: str, in_flight: int, reports: Sequence[CallReport], wants: Sequence[int]
    ) -> list[Decision]:
        self.exchanges.append(Exchange(self.loop.time(), in_flight, list(reports), list(wants)))
        await asyncio.sleep(0.001)
        return await super().exchange(quota, owner, in_flight, reports, wants)


@asynccontextmanager
async def gate_to(limiter: Limiter, owner: str = "me", **quota: int) -> AsyncIterator[AdmissionQueue]:
    gate = AdmissionQueue(limiter, lambda: Quota(**quota), owner, "some-model")
    try:
        yield gate
    finally:
        await gate.close()


class Crowd:
    """Calls of a fixed length; `call` may be given another end."""

    def __init__(self, seconds: float, end: Callable[[], CallReport] = lambda: OK) -> None:
        self.seconds = seconds
        self.end = end
        self.starts: list[float] = []
        self.in_flight = self.most = 0

    async def call(self, gate: AdmissionQueue, tokens: int = 1) -> None:
        permit = await gate.acquire(tokens)
        self.starts.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(self.seconds)
        self.in_flight -= 1
        gate.release(permit, self.end())

    async def calls(self, gate: AdmissionQueue, at_once: int, count: int) -> None:
        left = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in left:
                await self.call(gate)

        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))


def test_a_limit_is_used_up_and_kept() -> None:
    async def scene() -> None:
        limits, crowd = Limits(), Crowd(0.02)
        async with gate_to(limits, rpm=6000) as gate:
            await crowd.calls(gate, at_once=64, count=9000)
        assert max_in_a_minute([(start, 1) for start in crowd.starts]) <= 6000
        assert crowd.starts[-1] <= 9000 / 100 * 1.02
        assert len(limits.exchanges) <= 9000 / 4

    run(scene())


def test_calls_that_arrive_together_are_admitted_in_one_exchange() -> None:
    async def scene() -> None:
        limits, crowd = Limits(), Crowd(1)
        async with gate_to(limits) as gate:
            await asyncio.gather(*(crowd.call(gate, tokens) for tokens in range(100)))
        assert [len(exchange.wants) for exchange in limits.exchanges if exchange.wants] == [100]
        assert sum(len(exchange.reports) for exchange in limits.exchanges) == 100
        assert crowd.starts == pytest.approx([0.001] * 100)

    run(scene())


def test_calls_start_in_the_order_of_arrival() -> None:
    async def scene() -> None:
        order: list[int] = []

        async def call(number: int) -> None:
            permit = await gate.acquire(number)
            order.append(number)
            gate.release(permit, OK)

        async with gate_to(Limits(), rpm=600) as gate:
            await asyncio.gather(*(call(number) for number in range(50)))
        assert order == list(range(50))

    run(scene())


def test_reports_are_sent_soon_and_an_idle_queue_is_silent() -> None:
    async def scene() -> None:
        limits = Limits()
        async with gate_to(limits) as gate:
            permit = await gate.acquire(7)
            gate.release(permit, CallReport(CallOutcome.OK, tokens=-3))
            await asyncio.sleep(600)
            assert [exchange.reports for exchange in limits.exchanges] == [
                [],
                [CallReport(CallOutcome.OK, tokens=-3)],
            ]
            assert limits.exchanges[-1].time <= 0.06
            assert limits.exchanges[-1].in_flight == 0

    run(scene())


def test_queue_with_calls_in_flight_reports_every_three_seconds() -> None:
    async def scene() -> None:
        limits = Limits()
        async with gate_to(limits) as gate:
            permit = await gate.acquire(1)
            await asyncio.sleep(60)
            times = [exchange.time for exchange in limits.exchanges]
            assert len(times) >= 20
            assert max(after - before for before, after in pairwise(times)) <= 3.01
            assert {exchange.in_flight for exchange in limits.exchanges[1:]} == {1}
            gate.release(permit, OK)

    run(scene())


def test_ended_call_admits_the_next_at_once() -> None:
    async def scene() -> None:
        limits, crowd = Limits(), Crowd(1)
        async with gate_to(limits, max_concurrency=3) as gate:
            await crowd.calls(gate, at_once=20, count=30)
        assert crowd.most == 3
        assert crowd.starts[-1] <= 9 * 1.02
        assert max(len(exchange.wants) for exchange in limits.exchanges) == 3

    run(scene())


def test_processes_share_the_calls_in_flight() -> None:
    async def scene() -> None:
        limits, crowd = Limits(), Crowd(0.5)
        async with (
            gate_to(limits, "first", max_concurrency=4) as first,
            gate_to(limits, "second", max_concurrency=4) as second,
        ):
            await asyncio.gather(crowd.calls(first, 10, 40), crowd.calls(second, 10, 40))
        assert crowd.most == 4
        assert crowd.starts[-1] <= 80 / 4 * 0.5 * 1.2

    run(scene())


@pytest.mark.parametrize("when", [0.005, 0.0115, 0.05], ids=["unasked", "asked", "reserved"])
def test_cancelled_waiter_returns_its_permit(when: float) -> None:
    async def scene() -> None:
        limits = Limits()
        async with gate_to(limits, rpm=300, max_concurrency=3) as gate:
            permits = [await gate.acquire(1)]  # at 0.001; the next exchange is at 0.011
            waiting = asyncio.create_task(gate.acquire(50))
            behind = asyncio.create_task(gate.acquire(1))
            await asyncio.sleep(when - limits.loop.time())
            waiting.cancel()
            permits.append(await behind)
            assert waiting.cancelled()
            await asyncio.sleep(4)
            assert limits.exchanges[-1].in_flight == 2
            reports = [report for exchange in limits.exchanges for report in exchange.reports]
            assert reports == ([] if when < 0.01 else [CallReport(CallOutcome.UNSENT, tokens=-50)])
            permits.append(await gate.acquire(1))
            for permit in permits:
                gate.release(permit, OK)

    run(scene())


def test_an_outage_costs_few_calls_and_ends_when_a_probe_is_answered() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        crowd = Crowd(0.01, end=lambda: FAILED if 5 < loop.time() < 20 else OK)
        async with gate_to(Limits(), rpm=6000) as gate:
            await crowd.calls(gate, at_once=64, count=2000)
        assert sum(5 < start < 20 for start in crowd.starts) <= 100
        assert crowd.starts[-1] <= 20 + 5 + (2000 - 500) / 95

    run(scene())


def test_close_cancels_waiters_and_reports_ended_calls() -> None:
    async def scene() -> None:
        limits = Limits()
        gate = AdmissionQueue(limits, lambda: Quota(max_concurrency=1), "me", "some-model")
        permit = await gate.acquire(1)
        waiting = asyncio.create_task(gate.acquire(1))
        await asyncio.sleep(1)
        gate.release(permit, OK)
        await gate.close()
        await asyncio.sleep(60)
        assert waiting.cancelled()
        assert [exchange.reports for exchange in limits.exchanges if exchange.reports] == [[OK]]
        assert limits.exchanges[-1].in_flight == 0
        with pytest.raises(asyncio.CancelledError):
            await gate.acquire(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scene())


def test_unexpected_limiter_error_reaches_the_callers() -> None:
    class Broken(Limits):
        async def exchange(self, *_: object) -> list[Decision]:
            raise KeyError("no such thing")

    async def scene() -> None:
        async with gate_to(Broken()) as gate:
            with pytest.raises(KeyError, match="no such thing"):
                await gate.acquire(1)

    run(scene())


# With real Redis, in real time


def test_processes_share_one_redis(redis_url: str) -> None:
    async def scene() -> None:
        crowd, clients = Crowd(0.005), [connect_redis(redis_url) for _ in range(3)]
        gates = [
            AdmissionQueue(
                RedisLimiter(client, "a"), lambda: Quota(max_concurrency=7), str(number), "some-model"
            )
            for number, client in enumerate(clients)
        ]
        await asyncio.gather(*(crowd.calls(gate, at_once=20, count=60) for gate in gates))
        assert crowd.most == 7
        assert len(crowd.starts) == 180
        for gate, client in zip(gates, clients, strict=True):
            await gate.close()
            await client.aclose()

    asyncio.run(scene())


def test_calls_of_a_run_that_stops_leave_and_others_stay() -> None:
    async def scene() -> None:
        async with gate_to(Limits(), rpm=6) as gate:
            calls = [asyncio.create_task(gate.acquire(1, run)) for run in ("one", "other", "one", "other")]
            await asyncio.sleep(6)
            assert [call.done() for call in calls] == [True, False, False, False]
            assert gate.long_waits(5.0) == (3, 6.0)
            gate.cancel_run("one")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [call.cancelled() for call in calls] == [False, False, True, False]
            await asyncio.sleep(20)
            assert [call.done() for call in calls] == [True] * 4
            assert gate.long_waits(5.0) == (0, 0.0)

    run(scene())
