"""The side of the gateway that workers and operators ask."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import BasicAuth, hdrs, web
from aiohttp.typedefs import Handler

from models.backends.gateway import CALL, FORGET, FORGET_ALL, HEALTH, KEY, RELAYED, SECONDS, TOKEN, UPSTREAM
from worker.gateway.calls import Calls
from worker.gateway.shelf import Shelf
from worker.gateway.upstream import Upstream

LONGEST_BODY = 64 * 2**20
TRIM_SECONDS = 60.0
# Of the connection between worker and gateway; and our own.
KEPT_HERE = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}
OURS = "x-starmill-"


class Relay:
    def __init__(self, shelf: Shelf) -> None:
        self.calls = Calls(shelf)
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
