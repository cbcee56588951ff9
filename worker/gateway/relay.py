"""The side of the gateway that asks providers.

The side of the gateway that workers and operators ask.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import BasicAuth, hdrs, web
from aiohttp.typedefs import Handler

from models.adapters.backends.gateway_client import (
    CALL,
    FORGET,
    FORGET_ALL,
    HEALTH,
    KEY,
    RELAYED,
    SECONDS,
    TOKEN,
    UPSTREAM,
)
from models.adapters.backends.openai import CONNECT_SECONDS, is_loopback
from models.adapters.tcp_keepalive import open_socket
from worker.gateway.answer_cache import AnswerCache, CachedAnswer, CallsInFlight

log = logging.getLogger(__name__)
# What a worker reads of an answer, beside its body.
PASSED_BACK = {"content-type", "date", "retry-after", "retry-after-ms"}
LIMITS = "x-ratelimit-"


class Upstream:
    """Providers elsewhere are asked through a proxy that the environment names, those here are not."""

    def __init__(self) -> None:
        self._near, self._far = _session(trust_env=False), _session(trust_env=True)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> CachedAnswer:
        """What the provider answers; 502 or 504 where it does not, 400 where it cannot be asked.

        Neither headers nor texts are logged.
        """
        session = self._near if is_loopback(url) else self._far
        try:
            async with (
                asyncio.timeout(seconds),
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return CachedAnswer(response.status, _passed_back(response.headers), await response.read())
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


def _no_answer(status: int, url: str, what: str) -> CachedAnswer:
    where = urlsplit(url).netloc.rpartition("@")[2]
    log.warning("%s: %s", where, what)
    return CachedAnswer(status, {"Content-Type": "text/plain"}, f"{where}: {what}".encode(), relayed=False)


LONGEST_BODY = 64 * 2**20
TRIM_SECONDS = 60.0
# Of the connection between worker and gateway; and our own.
KEPT_HERE = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}
OURS = "x-starmill-"


class Relay:
    def __init__(self, shelf: AnswerCache) -> None:
        self.calls = CallsInFlight(shelf)
        self._upstream: Upstream | None = None

    async def call(self, http: web.Request) -> web.Response:
        self._forget(http)
        try:
            url, key, seconds = _asked(http.headers)
        except (KeyError, ValueError) as error:
            return web.Response(status=400, text=f"not a call: {error}")
        body, headers = await http.read(), _passed_on(http.headers)
        upstream = self._upstream
        assert upstream is not None
        answer = await self.calls.ask(key, lambda: upstream.post(url, headers, body, seconds))
        ours = {RELAYED: "1"} if answer.relayed else {}
        return web.Response(status=answer.status, body=answer.body, headers={**answer.headers, **ours})

    async def forget(self, http: web.Request) -> web.Response:
        self._forget(http)
        return web.Response(status=204)

    async def health(self, _: web.Request) -> web.Response:
        shelf = self.calls.shelf
        shelf.trim()
        return web.json_response({"running": len(self.calls), "held": len(shelf), "held_bytes": shelf.bytes})

    async def opened(self, _: Any) -> AsyncIterator[None]:
        """While the server runs."""
        self._upstream = Upstream()
        trimming = asyncio.create_task(self._keep_trimming())
        yield
        trimming.cancel()
        await self.calls.close()
        await self._upstream.close()

    async def _keep_trimming(self) -> None:
        """Also while nobody asks."""
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            self.calls.shelf.trim()

    def _forget(self, http: web.Request) -> None:
        if keys := http.headers.get(FORGET):
            self.calls.shelf.forget(keys.split(","))


def application(relay: Relay, token: str) -> web.Application:
    app = web.Application(client_max_size=LONGEST_BODY, middlewares=[_guard(token)])
    app.router.add_post(CALL, relay.call)
    app.router.add_post(FORGET_ALL, relay.forget)
    app.router.add_get(HEALTH, relay.health)
    app.cleanup_ctx.append(relay.opened)
    return app


def _guard(token: str) -> Any:
    expected = token.encode()

    @web.middleware
    async def guard(http: web.Request, handler: Handler) -> web.StreamResponse:
        if not hmac.compare_digest(_given(http.headers).encode(errors="surrogateescape"), expected):
            return web.Response(status=401, text="another token is needed")
        return await handler(http)

    return guard


def _given(headers: Mapping[str, str]) -> str:
    """The token in its own header, or as the password that is part of the URL."""
    if TOKEN in headers:
        return headers[TOKEN]
    try:
        return str(BasicAuth.decode(headers.get(hdrs.AUTHORIZATION, "")).password)
    except ValueError:
        return ""


def _asked(headers: Mapping[str, str]) -> tuple[str, str, float]:
    """Provider's URL, key, seconds. Raises KeyError or ValueError."""
    url, key, seconds = headers[UPSTREAM], headers[KEY], float(headers[SECONDS])
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{UPSTREAM} is no URL")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{SECONDS} is no time")
    return url, key, seconds


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in KEPT_HERE and not name.lower().startswith(OURS)
    }
