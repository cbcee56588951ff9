"""Signals stop a run between two ticks, and at once where there are none."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from producer.feeding.interrupts import SIGNALS, StopSignal


def send(which: int) -> None:
    os.kill(os.getpid(), which)


@pytest.mark.parametrize("which", SIGNALS)
def test_a_signal_waits_for_the_next_check(which: int) -> None:
    with StopSignal() as stop, stop.deferred():
        stop.check()
        send(which)
        with pytest.raises(KeyboardInterrupt):
            stop.check()


@pytest.mark.parametrize("which", SIGNALS)
def test_outside_of_ticks_a_signal_interrupts_at_once(which: int) -> None:
    with StopSignal(), pytest.raises(KeyboardInterrupt):
        send(which)


def test_the_second_signal_does_not_wait() -> None:
    with StopSignal() as stop, stop.deferred():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_the_handlers_before_are_put_back() -> None:
    before = [signal.getsignal(which) for which in SIGNALS]
    with StopSignal():
        assert [signal.getsignal(which) for which in SIGNALS] != before
    assert [signal.getsignal(which) for which in SIGNALS] == before


def test_only_the_main_thread_catches_signals() -> None:
    handlers = []

    def enter() -> None:
        with StopSignal():
            handlers.append([signal.getsignal(which) for which in SIGNALS])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [[signal.getsignal(which) for which in SIGNALS]]


def test_only_the_named_signals_are_caught() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal((signal.SIGINT,)):
        assert signal.getsignal(signal.SIGTERM) == before
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
