"""Any server with the OpenAI protocol: OpenAI itself, vLLM, llama.cpp, and many more.

Calls use aiohttp directly: the `openai` package needs four times the processor time for a call.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models.adapters.backends.error_map import (
    Address,
    limits_from_headers,
    map_connection_error,
    map_status_error,
)
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.tcp_keepalive import open_socket
from models.core.errors import AccessError, Unavailable
from models.core.experiment.endpoints import Endpoint
from models.core.types import JSON, MALFORMED, Completion, Limits, Request, Usage

if TYPE_CHECKING:
    import aiohttp

OFFICIAL_URL = "https://api.openai.com/v1"
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 5.0
# Servers that ask for no key still want the header.
NO_KEY = "unused"
# Which account pays, where a key may use several.
ACCOUNT = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


class OpenAIBackend:
    """A model server at `base_url`, which ends in /v1.

    `endpoint` gives the key's variable, the timeout and the calls in flight. Calls through a `gateway`
    outlive this process. Raises AccessError for the official API without a key.
    """

    def __init__(
        self, endpoint: Endpoint, base_url: str | None = None, gateway: GatewayClient | None = None
    ) -> None:
        import aiohttp

        self.limits = Limits()
        self._url = (base_url or OFFICIAL_URL).rstrip("/")
        self._gateway = gateway
        self._variable = endpoint.api_key_env
        self._key = read_key(self._variable, self._url)
        self._seconds = endpoint.timeout
        self._slots = asyncio.Semaphore(endpoint.max_concurrency)
        self._failures = (aiohttp.ClientError, OSError)
        self._headers = _headers(self._key, self._url)
        self._session: aiohttp.ClientSession | None = None

    async def complete(self, request: Request) -> Completion:
        """Ask /completions if the request has a prompt, else /chat/completions.

        The timeout starts when the call has a free slot. Raises ModelError.
        """
        address = peer = Address(request.model, self._url, self._variable, self._key)
        path, body = path_and_body(request)
        data = json.dumps(body).encode()
        url, headers = self._url + path, dict[str, str]()
        if self._gateway:
            peer = self._gateway.peer(address)
            url, headers = self._gateway.route(url, request.key, self._seconds)
        try:
            async with (
                self._slots,
                asyncio.timeout(self._seconds),
                self._open().post(url, data=data, headers=headers, allow_redirects=False) as response,
            ):
                text = await response.read()
        except self._failures as error:
            raise map_connection_error(error, peer) from None  # its text may hold the key
        if self._gateway:
            self._gateway.check(response.status, response.headers, text, address)
        self.limits = limits_from_headers(response.headers) or self.limits
        if not 200 <= response.status < 300:
            raise map_status_error(response.status, response.headers, text, address)
        return parse_completion(text, address)

    async def probe(self) -> None:
        """Raise Unavailable if the server is not up: GET /health, then /models.

        A gateway only passes on calls, so nothing is probed through one.
        """
        if self._gateway:
            return
        address = Address("probe", self._url, self._variable, self._key)
        for url in (f"{self._url.removesuffix('/v1')}/health", f"{self._url}/models"):
            try:
                async with (
                    asyncio.timeout(PROBE_SECONDS),
                    self._open().get(url, allow_redirects=False) as response,
                ):
                    if response.status < 400:
                        return
            except self._failures as error:
                raise map_connection_error(error, address) from None
            if response.status >= 500:
                raise Unavailable(f"{address}: status {response.status}")

    def count_tokens(self, request: Request) -> int | None:
        return None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # A session belongs to the event loop on which it is made.
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=open_socket),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                trust_env=not is_loopback(self._gateway.url if self._gateway else self._url),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def is_official(base_url: str | None) -> bool:
    return base_url is None or urlsplit(base_url).hostname == urlsplit(OFFICIAL_URL).hostname


def path_and_body(request: Request) -> tuple[str, JSON]:
    """Return path and body. Parameters are sent unchanged, also a server's own (top_k, min_p, ...)."""
    if request.prompt is not None:
        return "/completions", {"model": request.model, "prompt": request.prompt, **request.params}
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return "/chat/completions", {"model": request.model, "messages": messages, **request.params}


def parse_completion(text: bytes, address: Address) -> Completion:
    """Parse the body of an answer; a malformed one is quoted, with the finish reason MALFORMED."""
    try:
        return _completion(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError):
        # An error would be retried for ever. As an answer it is rejected and counted.
        return Completion(address.quote(text.decode(errors="replace")), MALFORMED, Usage())


def _headers(key: str, url: str) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {key or NO_KEY}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "starmill",
    }
    if is_official(url):
        headers |= {
            name: os.environ[variable] for name, variable in ACCOUNT.items() if os.environ.get(variable)
        }
    return headers


def is_loopback(url: str) -> bool:
    """Return whether `url` is this machine, which no proxy can reach."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def read_key(variable: str, url: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key and is_official(url):
        raise AccessError(f"set {variable} to a key of {url}")
    if not (key.isascii() and key.isprintable()):
        raise AccessError(f"the key in {variable} holds characters that no key has; set {variable} again")
    return key


def _completion(answer: Any) -> Completion:
    """Raises LookupError, TypeError, AttributeError or ValueError if `answer` is not a completion."""
    choice: Mapping[str, Any] = answer["choices"][0]
    if "message" in choice:
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    else:
        text, refusal = choice["text"], None
    if not isinstance(text, str | None):
        raise TypeError
    return Completion(
        text, choice.get("finish_reason") or "", _usage(answer.get("usage") or {}), refusal or None
    )


def _usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt=int(usage.get("prompt_tokens") or 0),
        cached=int(details.get("cached_tokens") or 0),
        completion=int(usage.get("completion_tokens") or 0),
    )
