"""Any server with the OpenAI protocol: OpenAI itself, vLLM, llama.cpp, and many more.

Calls use aiohttp directly: the `openai` package needs four times the processor time for a call.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from models.adapters.backends.access import is_loopback, read_access
from models.adapters.backends.completion_body import parse_completion
from models.adapters.backends.error_map import Address, map_connection_error, map_status_error
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.limit_headers import limits_from_headers
from models.adapters.tcp_keepalive import open_socket
from models.core.errors import ModelError, Unavailable
from models.core.experiment.endpoints import Model
from models.core.experiment.key_hosts import ANY_HOST, OFFICIAL_URL, KeyHosts, is_official
from models.core.types import JSON, Completion, Limits, Request

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 5.0
# After so many responses 404 in a row, the model is gone.
MAX_MISSING = 5


class OpenAIBackend:
    """A model server at `base_url`, which ends in /v1.

    `model` gives the key's variable, further headers, the timeout and the calls in flight. Calls through a
    `gateway` outlive this process. Raises AccessError for the official API without a key, and for a key that
    `key_hosts` keeps from the server.
    """

    def __init__(
        self,
        model: Model,
        base_url: str | None = None,
        gateway: GatewayClient | None = None,
        key_hosts: KeyHosts = ANY_HOST,
    ) -> None:
        import aiohttp

        self.limits = Limits()
        self._url = (base_url or OFFICIAL_URL).rstrip("/")
        self._gateway = gateway
        self._access = read_access(model, self._url, key_hosts)
        self._seconds = model.timeout
        self._slots = asyncio.Semaphore(model.max_concurrency)
        self._failures = (aiohttp.ClientError, OSError)
        self._headers = self._access.all_headers(self._url)
        self._session: aiohttp.ClientSession | None = None
        # Responses 404 since the last answer; a server that never answered has none to spare.
        self._missing = MAX_MISSING

    async def complete(self, request: Request) -> Completion:
        """Ask /completions if the request has a prompt, else /chat/completions.

        The timeout starts when the call has a free slot. Raises ModelError.
        """
        address = peer = self._address(request.model, frozenset(request.params))
        path, body = path_and_body(request, self._url)
        data = json.dumps(body).encode()
        url, headers = self._access.url(self._url, path), dict[str, str]()
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
            raise map_connection_error(error, peer, self._seconds) from None  # its text may hold the key
        if self._gateway:
            self._gateway.check(response.status, response.headers, text, address)
        self.limits = limits_from_headers(response.headers, time.time()) or self.limits
        if not 200 <= response.status < 300:
            self._missing += response.status == 404
            raise map_status_error(
                response.status, response.headers, text, address, answers=self._missing <= MAX_MISSING
            )
        self._missing = 0
        try:
            return parse_completion(text, address, response.headers)
        except ModelError:
            if self._gateway:  # which holds this response as the answer
                self._gateway.forget([request.key])
            raise

    async def probe(self) -> None:
        """Raise Unavailable if the server is not up: GET /health, then /models.

        A gateway only passes on calls, so nothing is probed through one.
        """
        if self._gateway:
            return
        address = self._address("probe")
        for url in (f"{self._url.removesuffix('/v1')}/health", self._access.url(self._url, "/models")):
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

    def _address(self, model: str, params: frozenset[str] = frozenset()) -> Address:
        return Address(model, self._url, self._access.key_variable, self._access.secrets, params)

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


def path_and_body(request: Request, url: str = "") -> tuple[str, JSON]:
    """Return path and body. Parameters are sent unchanged, also a server's own (top_k, min_p, ...).

    The official API calls `max_tokens` of a chat `max_completion_tokens`, and its newer models know no other
    name.
    """
    if request.prompt is not None:
        return "/completions", {"model": request.model, "prompt": request.prompt, **request.params}
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    params = dict(request.params)
    if is_official(url) and "max_tokens" in params:
        params.setdefault("max_completion_tokens", params["max_tokens"])
        del params["max_tokens"]
    return "/chat/completions", {"model": request.model, "messages": messages, **params}
