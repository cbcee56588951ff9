"""TCP keep-alive: close a connection soon after the other machine, or the network to it, is gone.

Without these options a kernel waits for hours, and a worker with it. All times are shorter than a lease.
"""

from __future__ import annotations

import socket
from typing import Any

# Seconds of silence before the first probe, seconds between two probes, and unanswered probes allowed.
IDLE, INTERVAL, COUNT = 6, 3, 3
# Seconds until sent data must be acknowledged.
UNACKNOWLEDGED = IDLE + INTERVAL * COUNT


def tcp_options() -> dict[int, int]:
    """Return the options of IPPROTO_TCP by number, as far as this system has them."""
    wanted = {
        "TCP_KEEPIDLE": IDLE,
        "TCP_KEEPINTVL": INTERVAL,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": 1000 * UNACKNOWLEDGED,
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Open a socket with keep-alive: aiohttp's `socket_factory`. `address` comes from `getaddrinfo`."""
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in tcp_options().items():
        opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
