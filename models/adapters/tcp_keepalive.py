"""How soon a connection is given up whose other end is gone without a word: a machine, or the way to it.

Without this a kernel waits for hours, and a worker with it. All of it is less than a worker's lease.
"""

from __future__ import annotations

import socket
from typing import Any

# Seconds of silence until the other end is probed; between two probes; and probes without an answer.
IDLE, INTERVAL, COUNT = 6, 3, 3
# Seconds until sent data must be acknowledged.
UNACKNOWLEDGED = IDLE + INTERVAL * COUNT


def tcp_options() -> dict[int, int]:
    """Options of IPPROTO_TCP by number; those that this system knows."""
    wanted = {
        "TCP_KEEPIDLE": IDLE,
        "TCP_KEEPINTVL": INTERVAL,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": 1000 * UNACKNOWLEDGED,
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """For aiohttp, whose `address` is one of `getaddrinfo`."""
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in tcp_options().items():
        opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
