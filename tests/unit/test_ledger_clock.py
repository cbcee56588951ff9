"""The clock of a ledger goes by the server's, whatever happens to that of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from storage.ledger_clock import LedgerClock


@dataclass
class Times:
    """The time of both clocks, and how long the server takes to answer."""

    server: float = 1_000.0
    machine: float = 700.0
    steady: float = 50.0
    answer: float = 0.0
    asked: int = 0

    def ask(self) -> float:
        self.asked += 1
        self.steady += self.answer
        self.server += self.answer
        return self.server - self.answer / 2

    def clock(self) -> LedgerClock:
        return LedgerClock(self.ask, lambda: self.machine, lambda: self.steady)


def test_clock_is_the_servers_and_goes_on_by_itself() -> None:
    times = Times()
    clock = times.clock()
    assert clock() == 1_000.0
    times.steady += 20.0
    times.machine -= 3_600.0  # somebody sets it
    assert clock() == 1_020.0
    assert times.asked == 1


@pytest.mark.parametrize(("machine", "skew"), [(700.0, -300.0), (1_300.0, 300.0), (1_001.0, 1.0)])
def test_skew_is_what_this_machine_is_ahead(machine: float, skew: float) -> None:
    assert Times(machine=machine).clock().skew == skew


def test_clock_that_drifts_is_set_right_and_one_answer_that_took_long_moves_nothing() -> None:
    times = Times()
    clock = times.clock()
    assert clock() == 1_000.0
    times.answer = 30.0  # somewhere within, the server read its clock
    clock.synchronize()
    assert clock() == times.server == 1_030.0
    times.answer, times.server = 0.0, times.server + 5.0
    clock.synchronize()
    assert clock() == times.server


def test_server_is_asked_no_oftener_than_wanted() -> None:
    times = Times()
    clock = times.clock()
    clock()
    for seconds, asked in ((59.0, 1), (2.0, 2), (1.0, 2)):
        times.steady += seconds
        clock.synchronize(older_than=60.0)
        assert times.asked == asked


def test_clock_of_a_file_is_this_machines() -> None:
    times = Times()
    clock = LedgerClock(machine=lambda: times.machine)
    clock.synchronize()
    assert (clock(), clock.skew, times.asked) == (700.0, 0.0, 0)
