"""The side of the gateway that asks providers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from models.backends.openai import CONNECT_SECONDS, is_loopback
from models.keepalive import open_socket
from worker.gateway.shelf import Answer

log = logging.getLogger(__name__)
# What a worker reads of an answer, beside its body.
PASSED_BACK = {"content-type", "date", "retry-after", "retry-after-ms"}
LIMITS = "x-ratelimit-"


class Upstream:
    """Providers elsewhere are asked through a proxy that the environment names, those here are not."""

    def __init__(self) -> None:
        self._near, self._far = _session(trust_env=False), _session(trust_env=True)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        """What the provider answers; 502 or 504 where it does not, 400 where it cannot be asked.

        Neither headers nor texts are logged.
        """
        session = self._near if is_loopback(url) else self._far
        try:
            async with (
                asyncio.timeout(seconds),
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return Answer(response.status, _passed_back(response.headers), await response.read())
        except TimeoutError:
            return _no_answer(504, url, "no answer in time")
        except ValueError as error:
            return _no_answer(400, url, f"not asked: {type(error).__name__}")
        except (aiohttp.ClientError, OSError) as error:
            return _no_answer(502, url, f"no answer: {type(error).__name__}")

    async def close(self) -> None:
        await self._near.close()
        await self._far.close()


def _session(trust_env: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, socket_factory=open_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        trust_env=trust_env,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in PASSED_BACK or name.lower().startswith(LIMITS)
    }


def _no_answer(status: int, url: str, what: str) -> Answer:
    where = urlsplit(url).netloc.rpartition("@")[2]
    log.warning("%s: %s", where, what)
    return Answer(status, {"Content-Type": "text/plain"}, f"{where}: {what}".encode(), relayed=False)
