"""The client of the gateway (`python -m worker.gateway`), whose calls outlive the workers.

A call is a POST to /call with the provider's own headers and body, and with these headers:

    X-Starmill-Token      the gateway's token
    X-Starmill-Upstream   the provider's URL
    X-Starmill-Key        the generation's key; calls with the same key are one call
    X-Starmill-Seconds    the provider's timeout
    X-Starmill-Forget     keys of generations whose answers are in the ledger, comma-separated (optional)

The provider's response comes back with X-Starmill-Relayed. A response without it is the gateway's own.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from models.adapters.backends.error_map import Address
from models.core.errors import AccessError, ServiceError, TimedOut, Unavailable

TOKEN = "X-Starmill-Token"  # noqa: S105 (the name of a header)
UPSTREAM = "X-Starmill-Upstream"
KEY = "X-Starmill-Key"
SECONDS = "X-Starmill-Seconds"
FORGET = "X-Starmill-Forget"
RELAYED = "X-Starmill-Relayed"
CALL, FORGET_ALL, HEALTH = "/call", "/forget", "/health"
# Servers refuse a header of more than 8 kB.
KEYS_PER_HEADER = 64
CLOSE_SECONDS = 2.0


class GatewayClient:
    """One client for all backends of a worker.

    `setting` is `http://:TOKEN@host:port`. Raises ServiceError for another one.
    """

    def __init__(self, setting: str) -> None:
        self.url, self._token = address_and_token(setting)
        self._committed: deque[str] = deque()

    def route(self, upstream: str, key: str, seconds: float) -> tuple[str, dict[str, str]]:
        """Return the URL to post to instead of `upstream`, and the headers to add."""
        headers = {UPSTREAM: upstream, KEY: key, SECONDS: str(seconds), **self._headers()}
        return self.url + CALL, headers

    def peer(self, address: Address) -> Address:
        """Return the address to name when a connection fails."""
        return Address(address.model, f"the gateway {self.url}", address.key_variable, address.secrets)

    def check(self, status: int, headers: Mapping[str, str], body: bytes, address: Address) -> None:
        """Raise ModelError if the response came from the gateway or another server, not the provider."""
        if RELAYED in headers:
            return
        message = f"status {status}: {address.quote(body.decode(errors='replace'))}"
        if status == 504:
            raise TimedOut(f"{address}: {address.quote(body.decode(errors='replace'))}")
        if status >= 500:
            raise Unavailable(f"{self.peer(address)}: {message}")
        if status in (401, 403):
            raise AccessError(
                f"the gateway {self.url} refuses the token in STARMILL_GATEWAY_URL; "
                "set it as it was when the gateway was started"
            )
        raise AccessError(
            f"{self.url} does not answer as a gateway; check STARMILL_GATEWAY_URL and the base_url "
            f"of {address.model} ({message})"
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Let the next call tell the gateway to drop these answers, which are in the ledger now."""
        self._committed.extend(keys)

    async def close(self) -> None:
        """Send the keys that no call has sent yet. Without this the gateway holds some answers for longer."""
        import aiohttp

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CLOSE_SECONDS)) as session:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                while self._committed:
                    async with session.post(self.url + FORGET_ALL, headers=self._headers()):
                        pass

    def _headers(self) -> dict[str, str]:
        keys = [self._committed.popleft() for _ in range(min(KEYS_PER_HEADER, len(self._committed)))]
        return {TOKEN: self._token, **({FORGET: ",".join(keys)} if keys else {})}


def address_and_token(setting: str) -> tuple[str, str]:
    """Split `http://:TOKEN@host:port`. Raises ServiceError, without the token in its message."""
    try:
        url = urlsplit(setting)
        token = unquote(url.password or "")
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 0) >= 0
    except ValueError:
        usable, token = False, ""
    if not usable or not token or not (token.isascii() and token.isprintable()):
        raise ServiceError(
            "STARMILL_GATEWAY_URL is not a URL with a token; set it as in http://:TOKEN@127.0.0.1:8081"
        )
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}", token
