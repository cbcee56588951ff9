"""Any server that speaks the OpenAI protocol: OpenAI itself, vLLM, llama.cpp, and many more.

Calls go out through aiohttp alone: the `openai` package needs four times the processor time for a call.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models.adapters.backends.error_map import Address, as_connection_error, error_of_status, told_limits
from models.adapters.backends.gateway_client import Gateway
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
    """`endpoint` gives the key's variable, the timeout and the calls in flight; `base_url` ends in /v1.
    Through a `gateway`, calls outlive this process.

    Raises AccessError where the official API is asked without a key.
    """

    def __init__(
        self, endpoint: Endpoint, base_url: str | None = None, gateway: Gateway | None = None
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
        """Asks /completions where the request has a prompt, else /chat/completions.

        Raises ModelError. The timeout counts from the moment when the call may start.
        """
        address = peer = Address(request.model, self._url, self._variable, self._key)
        path, body = call_of(request)
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
            raise as_connection_error(error, peer) from None  # its text may hold the key
        if self._gateway:
            self._gateway.check(response.status, response.headers, text, address)
        self.limits = told_limits(response.headers) or self.limits
        if not 200 <= response.status < 300:
            raise error_of_status(response.status, response.headers, text, address)
        return completion_of(text, address)

    async def probe(self) -> None:
        """Raises Unavailable where the server is not up: GET /health, or /models where there is no such path.

        A gateway passes on calls only: through one, the next call has to show it.
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
                raise as_connection_error(error, address) from None
            if response.status >= 500:
                raise Unavailable(f"{address}: status {response.status}")

    def count_tokens(self, request: Request) -> int | None:
        return None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """A session belongs to the loop that it was made on."""
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


def call_of(request: Request) -> tuple[str, JSON]:
    """Path and body. Parameters go out as they are, so that servers get theirs (top_k, min_p, ...)."""
    if request.prompt is not None:
        return "/completions", {"model": request.model, "prompt": request.prompt, **request.params}
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return "/chat/completions", {"model": request.model, "messages": messages, **request.params}


def completion_of(text: bytes, address: Address) -> Completion:
    """The body of an answer; one that is no completion is quoted, with the finish reason MALFORMED."""
    try:
        return _completion(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError):
        # Asked again for ever it would hang its row: it is an answer, to be rejected and counted.
        said = text.decode(errors="replace")
        return Completion(address.quote(said), MALFORMED, Usage())


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
    """Whether a proxy named in the environment could not reach `url` anyway."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def read_key(variable: str, url: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key and is_official(url):
        raise AccessError(f"set {variable} to a key of {url}")
    if not (key.isascii() and key.isprintable()):
        raise AccessError(f"the key in {variable} holds characters that no key has; set {variable} again")
    return key


def _completion(answer: Any) -> Completion:
    """Raises LookupError, TypeError, AttributeError or ValueError where `answer` is not one."""
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
