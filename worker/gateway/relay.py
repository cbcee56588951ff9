"""The HTTP server that workers and operators call, and its client for calls to providers."""

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

from models.adapters.backends import gateway_client
from models.adapters.backends.access import is_loopback
from models.adapters.backends.openai import CONNECT_SECONDS
from models.adapters.tcp_keepalive import open_socket
from worker.gateway.answer_cache import AnswerCache, CachedAnswer, CallsInFlight

log = logging.getLogger(__name__)
# Headers of an answer that workers read.
RESPONSE_HEADERS = {"content-type", "date", "retry-after", "retry-after-ms"}
LIMIT_PREFIX = "x-ratelimit-"


class Upstream:
    """Calls to providers. Those on other hosts go through the proxy that the environment names."""

    def __init__(self) -> None:
        self._local, self._remote = _session(trust_env=False), _session(trust_env=True)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> CachedAnswer:
        """Return the provider's response; 502 or 504 if there is none, 400 if the request cannot be sent.
        Headers and texts are not logged."""
        session = self._local if is_loopback(url) else self._remote
        try:
            async with (
                asyncio.timeout(seconds),
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                kept = _response_headers(response.headers)
                return CachedAnswer(response.status, kept, await response.read())
        except aiohttp.ConnectionTimeoutError:
            return _no_answer(502, url, "no connection in time")
        except TimeoutError:
            return _no_answer(504, url, f"no answer within {seconds:g} s")
        except ValueError as error:
            return _no_answer(400, url, f"not asked: {type(error).__name__}")
        except (aiohttp.ClientError, OSError) as error:
            return _no_answer(502, url, f"no answer: {type(error).__name__}")

    async def close(self) -> None:
        await self._local.close()
        await self._remote.close()


def _session(trust_env: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, socket_factory=open_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        trust_env=trust_env,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _response_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in RESPONSE_HEADERS or name.lower().startswith(LIMIT_PREFIX)
    }


def _no_answer(status: int, url: str, what: str) -> CachedAnswer:
    where = urlsplit(url).netloc.rpartition("@")[2]
    log.warning("%s: %s", where, what)
    return CachedAnswer(status, {"Content-Type": "text/plain"}, f"{where}: {what}".encode(), relayed=False)


MAX_BODY_BYTES = 64 * 2**20
TRIM_SECONDS = 60.0
# Headers for the connection between worker and gateway, and the gateway's own: not sent to providers.
HOP_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}
OWN_PREFIX = "x-starmill-"


class Relay:
    def __init__(self, cache: AnswerCache) -> None:
        self.calls = CallsInFlight(cache)
        self._upstream: Upstream | None = None

    async def call(self, http: web.Request) -> web.Response:
        self._forget(http)
        try:
            url, key, seconds = _parse_call(http.headers)
        except (KeyError, ValueError) as error:
            return web.Response(status=400, text=f"not a call: {error}")
        body, headers = await http.read(), _request_headers(http.headers)
        upstream = self._upstream
        assert upstream is not None
        answer = await self.calls.ask(key, lambda: upstream.post(url, headers, body, seconds))
        own = {gateway_client.RELAYED: "1"} if answer.relayed else {}
        return web.Response(status=answer.status, body=answer.body, headers={**answer.headers, **own})

    async def forget(self, http: web.Request) -> web.Response:
        self._forget(http)
        return web.Response(status=204)

    async def health(self, _: web.Request) -> web.Response:
        cache = self.calls.cache
        cache.trim()
        return web.json_response({"running": len(self.calls), "held": len(cache), "held_bytes": cache.bytes})

    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Open what is needed while the server runs."""
        self._upstream = Upstream()
        trimming = asyncio.create_task(self._keep_trimming())
        yield
        trimming.cancel()
        await self.calls.close()
        await self._upstream.close()

    async def _keep_trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            self.calls.cache.trim()

    def _forget(self, http: web.Request) -> None:
        if keys := http.headers.get(gateway_client.FORGET):
            self.calls.cache.forget(keys.split(","))


def application(relay: Relay, token: str) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_guard(token)])
    app.router.add_post(gateway_client.CALL, relay.call)
    app.router.add_post(gateway_client.FORGET_ALL, relay.forget)
    app.router.add_get(gateway_client.HEALTH, relay.health)
    app.cleanup_ctx.append(relay.lifespan)
    return app


def _guard(token: str) -> Any:
    expected = token.encode()

    @web.middleware
    async def guard(http: web.Request, handler: Handler) -> web.StreamResponse:
        if not hmac.compare_digest(_token(http.headers).encode(errors="surrogateescape"), expected):
            return web.Response(status=401, text="another token is needed")
        return await handler(http)

    return guard


def _token(headers: Mapping[str, str]) -> str:
    """Return the token from its own header, or from the password of the URL."""
    if gateway_client.TOKEN in headers:
        return headers[gateway_client.TOKEN]
    try:
        return str(BasicAuth.decode(headers.get(hdrs.AUTHORIZATION, "")).password)
    except ValueError:
        return ""


def _parse_call(headers: Mapping[str, str]) -> tuple[str, str, float]:
    """Return the provider's URL, the key and the timeout in seconds. Raise KeyError or ValueError."""
    url, key = headers[gateway_client.UPSTREAM], headers[gateway_client.KEY]
    seconds = float(headers[gateway_client.SECONDS])
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{gateway_client.UPSTREAM} is no URL")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{gateway_client.SECONDS} is no time")
    return url, key, seconds


def _request_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in HOP_HEADERS and not name.lower().startswith(OWN_PREFIX)
    }
