"""Limits of model calls: each rule as a story, in memory and in Redis."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from storage.limits.limiter import HORIZON, CallOutcome, CallReport
from tests.openai_server.behaviour import Meter
from tests.support.clock import Clock
from tests.support.limits import FAILED, LIMITED, OK, Limits, limits, max_in_a_minute, now_and_then, play


@pytest.fixture(params=["memory", "redis"])
def model(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Limits]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with limits(url, clock) as opened:
        yield opened


def test_without_limits_all_may_start_at_once(model: Limits) -> None:
    answers = model.ask(*[100] * 200)
    assert all(answer.granted and answer.wait == 0 for answer in answers)


@pytest.mark.parametrize("rpm", [1, 2, 7, 60, 67, 1500])
def test_requests_are_spaced_evenly_and_never_too_many(model: Limits, rpm: int) -> None:
    seconds = 200 if rpm < 100 else 70
    made = model.starts(seconds, lambda: 1, rpm=rpm)
    assert max_in_a_minute(made) <= rpm
    assert len(made) >= int(seconds * rpm / 60 * 0.98)
    gaps = [after - before for (before, _), (after, _) in pairwise(made)]
    assert max(gaps) == pytest.approx(60 / rpm, rel=0.02)


def test_calls_a_little_early_or_late_are_still_not_too_many(model: Limits) -> None:
    shaken = random.Random(3)
    made = [(start + shaken.uniform(0, 0.1), 1) for start, _ in model.starts(150, lambda: 1, rpm=600)]
    assert max_in_a_minute(sorted(made)) <= 600


def test_idle_time_gives_no_credit(model: Limits) -> None:
    model.ask(1, rpm=600)
    model.clock.advance(100)
    answers = model.ask(*[1] * 50, rpm=600)
    assert sum(answer.granted and answer.wait == 0 for answer in answers) <= 2


def test_a_start_is_reserved_for_a_quarter_of_a_second_at_most(model: Limits) -> None:
    answers = model.ask(*[1] * 100, rpm=600)
    waits = [answer.wait for answer in answers if answer.granted]
    assert waits == sorted(waits)
    assert 0.15 < waits[-1] <= HORIZON
    refused = next(answer for answer in answers if not answer.granted)
    model.clock.advance(refused.wait)
    assert model.ask(1, rpm=600)[0].granted


@pytest.mark.parametrize(
    ("least", "most", "used"),
    [(1, 5, 0.98), (20, 20, 0.95), (5, 20, 0.8), (50, 500, 0.4), (300, 300, 0.65), (500, 1000, 0.75)],
)
def test_tokens_of_any_minute_stay_below_the_limit(model: Limits, least: int, most: int, used: float) -> None:
    sizes = random.Random(5)
    made = model.starts(400, lambda: sizes.randint(least, most), tpm=1000)
    assert max_in_a_minute(made) <= 1000
    assert sum(tokens for _, tokens in made) >= used * 1000 * 400 / 60


def test_a_call_larger_than_a_minute_passes_and_is_paid_for_afterwards(model: Limits) -> None:
    begun = model.clock()
    assert model.granted(3000, tpm=1000) == 1
    [next_one] = model.ask(10, tpm=1000)
    assert not next_one.granted
    assert next_one.wait == pytest.approx(3 * 60, rel=0.03)
    model.clock.advance(next_one.wait)
    assert model.granted(10, tpm=1000) == 1
    [large] = model.ask(5000, tpm=1000)  # after a minute without other calls
    assert not large.granted
    model.clock.advance(large.wait)
    assert model.granted(5000, tpm=1000) == 1
    assert model.clock() < begun + 5 * 60


def test_unused_tokens_are_returned_and_extra_tokens_charged(model: Limits) -> None:
    model.ask(5000, tpm=1000)
    waits = []
    for tokens in (0, -3000, 1000):
        waits.append(model.ask(1, tpm=1000, reports=[CallReport(CallOutcome.OK, tokens=tokens)])[0].wait)
    assert waits[1] - waits[0] == pytest.approx(-180, rel=0.03)
    assert waits[2] - waits[1] == pytest.approx(60, rel=0.03)
    assert model.granted(1, tpm=1000, reports=[CallReport(CallOutcome.OK, tokens=-(10**6))]) == 1
    assert model.granted(*[100] * 10, tpm=1000) == 0


def test_all_is_charged_together_or_not_at_all(model: Limits) -> None:
    assert model.granted(2000, rpm=60, tpm=1000) == 1
    model.clock.advance(10)
    assert model.granted(1000, rpm=60, tpm=1000) == 0
    assert model.granted(0, rpm=60) == 1  # the refused call took nobody's turn


def test_first_come_first_served(model: Limits) -> None:
    answers = model.ask(1, 1, 900, 1, tpm=1000)
    assert [answer.granted for answer in answers] == [True, True, False, False]


def test_calls_in_flight_are_counted_over_all_owners(model: Limits) -> None:
    assert model.granted(1, 1, 1, owner="first", most=5) == 3
    assert model.granted(1, 1, 1, owner="second", most=5) == 2
    [refused] = model.ask(1, owner="second", in_flight=2, most=5)
    assert refused.full
    assert refused.wait < 0.1
    model.ask(owner="first", in_flight=1, reports=[OK, OK], most=5)
    assert model.granted(1, 1, 1, owner="second", in_flight=2, most=5) == 2


def test_calls_of_a_dead_owner_are_freed(model: Limits) -> None:
    assert model.granted(1, 1, owner="killed", most=2) == 2
    model.clock.advance(9)
    assert model.granted(1, owner="other", most=2) == 0
    model.clock.advance(2)
    assert model.granted(1, owner="other", most=2) == 1
    assert model.granted(1, owner="third", most=2) == 1
    for _ in range(3):  # who speaks is alive
        model.clock.advance(8)
        model.ask(owner="other", in_flight=1, most=2)
        model.ask(owner="third", in_flight=1, most=2)
        assert model.granted(1, owner="fourth", most=2) == 0


def test_retry_after_blocks_every_owner(model: Limits) -> None:
    model.ask(
        reports=[
            CallReport(CallOutcome.LIMITED, retry_after=20),
            CallReport(CallOutcome.LIMITED, retry_after=5),
        ]
    )
    [refused] = model.ask(1, owner="other")
    assert refused.wait == pytest.approx(20)
    model.clock.advance(19.9)
    assert model.granted(1) == 0
    model.clock.advance(0.2)
    assert model.granted(*[1] * 50) == 50  # and the rate is not cut


def test_limits_are_learned_from_headers(model: Limits) -> None:
    model.ask(reports=[CallReport(CallOutcome.OK, rpm=60)])
    assert len(model.starts(60, lambda: 1)) <= 60
    model.ask(reports=[CallReport(CallOutcome.OK, tpm=120)])
    assert sum(tokens for _, tokens in model.starts(120, lambda: 10)) <= 240


@pytest.mark.parametrize(("configured", "announced"), [(60, 600), (600, 60)])
def test_smallest_limit_counts(model: Limits, configured: int, announced: int) -> None:
    model.ask(reports=[CallReport(CallOutcome.OK, rpm=announced)])
    made = model.starts(100, lambda: 1, rpm=configured)
    assert 95 <= len(made) <= 101


def test_newly_announced_limit_replaces_the_old_one(model: Limits) -> None:
    for rpm in (60, 600):
        model.ask(reports=[CallReport(CallOutcome.OK, rpm=rpm)])
    assert len(model.starts(60, lambda: 1)) > 500


@pytest.mark.parametrize("rpm", [600, 6000])
def test_429s_that_strike_at_random_hardly_slow_a_known_limit(model: Limits, rpm: int) -> None:
    made = play(model, 60, now_and_then(0.05, CallOutcome.LIMITED), rpm=rpm)
    assert len(made) >= 0.95 * rpm
    assert max_in_a_minute([(start, 1) for start, _ in made]) <= rpm


@pytest.mark.parametrize(("limit", "refused"), [(120, 0.12), (1200, 0.04), (6000, 0.04)])
def test_unannounced_limit_is_discovered_and_kept(model: Limits, limit: int, refused: float) -> None:
    server = Meter(limit)

    def serve(start: float) -> CallOutcome:
        return CallOutcome.LIMITED if server.charge(1, start) else CallOutcome.OK

    play(model, 60, serve)
    made = [outcome for _, outcome in play(model, 120, serve)]
    assert made.count(CallOutcome.OK) >= 0.95 * 2 * limit
    assert made.count(CallOutcome.LIMITED) <= refused * len(made)


def test_a_lone_429_among_hundreds_hardly_cuts(model: Limits) -> None:
    undisturbed = play(model, 30, lambda _: CallOutcome.OK)
    calls = iter(range(10**6))
    made = play(model, 30, lambda _: CallOutcome.LIMITED if next(calls) == 2000 else CallOutcome.OK)
    assert [outcome for _, outcome in made].count(CallOutcome.LIMITED) == 1
    assert len(made) >= 0.95 * len(undisturbed)


def test_the_rate_recovers_when_the_server_does(model: Limits) -> None:
    play(model, 15, lambda _: CallOutcome.LIMITED, rpm=600)
    assert 1 <= len(play(model, 10, lambda _: CallOutcome.LIMITED, rpm=600)) < 40
    made = play(model, 120, lambda _: CallOutcome.OK, rpm=600)
    last_minute = [start for start, _ in made if start > model.clock() - 60]
    assert len(last_minute) >= 0.95 * 600


def test_ten_failures_in_a_row_open_the_circuit(model: Limits) -> None:
    model.ask(reports=[FAILED] * 9 + [OK] + [FAILED] * 9, owner="first")
    assert model.granted(1) == 1
    model.ask(reports=[FAILED], owner="second")
    assert model.granted(1) == 0


def test_an_open_circuit_lets_one_probe_through_ever_more_seldom(model: Limits) -> None:
    model.ask(reports=[FAILED] * 10)
    pauses = []
    for _ in range(6):
        began = model.clock()
        while not (answers := model.ask(1, 1, owner="prober"))[0].granted:
            model.clock.advance(answers[0].wait)
        pauses.append(model.clock() - began)
        assert (answers[0].probe, answers[1].granted) == (True, False)
        assert model.granted(1, owner="other") == 0
        model.ask(reports=[FAILED], owner="other")  # a call of before: it says nothing new
        model.ask(reports=[CallReport(CallOutcome.FAILED, probe=True)], owner="prober")
    assert pauses == pytest.approx([0.5, 1, 2, 4, 5, 5])


@pytest.mark.parametrize("heard", [CallOutcome.OK, CallOutcome.LIMITED])
def test_an_answer_closes_the_circuit(model: Limits, heard: CallOutcome) -> None:
    model.ask(reports=[FAILED] * 10)
    model.clock.advance(0.5)
    assert model.ask(1)[0].probe
    model.ask(reports=[CallReport(heard, probe=True)])
    assert model.granted(1, 1, 1) == 3
    model.ask(reports=[FAILED] * 9)
    assert model.granted(1) == 1


def test_a_probe_that_was_not_sent_is_free_again(model: Limits) -> None:
    model.ask(reports=[FAILED] * 10)
    model.clock.advance(0.5)
    assert model.granted(1) == 1
    model.ask(reports=[CallReport(CallOutcome.UNSENT, probe=True)])
    assert model.granted(1, 1) == 1


def test_probe_without_report_is_lost_after_a_minute(model: Limits) -> None:
    model.ask(reports=[FAILED] * 10)
    model.clock.advance(0.5)
    assert model.granted(1, owner="killed") == 1
    model.clock.advance(59)
    assert model.granted(1) == 0
    model.clock.advance(1.1)
    assert model.ask(1)[0].probe


def test_429s_are_no_failures(model: Limits) -> None:
    model.ask(reports=[*[FAILED] * 9, LIMITED, *[FAILED] * 9])
    assert model.granted(1) == 1


def test_random_failures_do_not_open_the_circuit(model: Limits) -> None:
    made = play(model, 60, now_and_then(0.05, CallOutcome.FAILED), rpm=6000)
    assert len(made) >= 0.98 * 0.985 * 6000
