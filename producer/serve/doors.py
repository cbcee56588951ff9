"""Who may come in: one password, sessions that are handed out for it, and patience with wrong ones.

A session is a random token that only this process knows: there is nothing to forge, leaving ends it for
good, and so does a restart. Programs give the password with each request instead.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

SESSION_SECONDS = 7 * 86400.0
MOST_SESSIONS = 1000
FREE_TRIES = 3
LONGEST_PAUSE = 60.0
MEMORY_SECONDS = 900.0
MOST_ADDRESSES = 10_000


class TooManyTries(Exception):
    """Nothing is compared for another `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong passwords: try again in {seconds:.0f} s")
        self.seconds = seconds


class Doors:
    """`clock` gives steady seconds."""

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._password = _digest(password)
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def accepts(self, password: str, address: str) -> bool:
        """Whether it is the password; after FREE_TRIES wrong ones from an address each costs twice the
        pause of the one before. Raises TooManyTries."""
        now, who = self._clock(), _network(address)
        tries, since = self._wrong.get(who, (0, now))
        if now - since > MEMORY_SECONDS:
            tries = 0
        pause = min(LONGEST_PAUSE, 2.0 ** (tries - FREE_TRIES)) if tries >= FREE_TRIES else 0.0
        if now - since < pause:
            raise TooManyTries(pause - (now - since))
        if hmac.compare_digest(_digest(password), self._password):
            self._wrong.pop(who, None)
            return True
        self._wrong[who] = tries + 1, now
        self._wrong.move_to_end(who)
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        return False

    def open_session(self) -> str:
        """The token of a new one."""
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = self._clock() + SESSION_SECONDS
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def knows(self, token: str) -> bool:
        return self._sessions.get(_digest(token), 0.0) > self._clock()

    def end_session(self, token: str) -> None:
        self._sessions.pop(_digest(token), None)


def _digest(text: str) -> bytes:
    """Of one length, whatever was given."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _network(address: str) -> str:
    """Whoever has one address of IPv6 has 2^64 of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
