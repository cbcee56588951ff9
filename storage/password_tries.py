"""Slow down who guesses a password: by address, in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

FREE_TRIES = 3
MAX_PAUSE = 60.0
MEMORY_SECONDS = 900.0
MAX_ADDRESSES = 10_000


class TooManyTries(Exception):
    """An address may not try again for another `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong passwords: try again in {seconds:.0f} s")
        self.seconds = seconds


class PasswordTries:
    """Wrong tries by network. `clock` gives steady seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def admits(self, is_right: bool, address: str) -> bool:
        """Return whether the password that the address gave is right.

        After FREE_TRIES wrong ones from a network, each doubles the pause before the next try. Raise
        TooManyTries during the pause.
        """
        now, network = self._clock(), _network(address)
        tries, since = self._wrong.get(network, (0, now))
        if now - since > MEMORY_SECONDS:
            tries = 0
        pause = min(MAX_PAUSE, 2.0 ** (tries - FREE_TRIES)) if tries >= FREE_TRIES else 0.0
        if now - since < pause:
            raise TooManyTries(pause - (now - since))
        if is_right:
            self._wrong.pop(network, None)
            return True
        self._wrong[network] = tries + 1, now
        self._wrong.move_to_end(network)
        while len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)
        return False


def _network(address: str) -> str:
    """Return the /64 network of an IPv6 address, since its owner has all of it; else the address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
