"""Any server that speaks the OpenAI protocol: OpenAI itself, vLLM, llama.cpp, and many more."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from models.backends.failures import Address, as_model_error
from models.errors import AccessError
from models.experiment import Endpoint
from models.types import JSON, MALFORMED, Completion, Request, Usage

OFFICIAL_URL = "https://api.openai.com/v1"
CONNECT_SECONDS = 10.0
# Servers that ask for no key still want the header.
NO_KEY = "unused"


class OpenAIBackend:
    """`endpoint` gives the key's variable, the timeout and the calls in flight; `base_url` ends in /v1.

    Raises AccessError where the official API is asked without a key.
    """

    def __init__(self, endpoint: Endpoint, base_url: str | None = None) -> None:
        import aiohttp
        import openai

        self._url = base_url or OFFICIAL_URL
        self._variable = endpoint.api_key_env
        self._key = read_key(self._variable, self._url)
        self._seconds = endpoint.timeout
        self._slots = asyncio.Semaphore(endpoint.max_concurrency)
        self._failures = (openai.OpenAIError, aiohttp.ClientError, OSError)
        self._client = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=self._url,
            max_retries=0,  # the worker retries: it knows the limits that all workers share
            timeout=openai.Timeout(None, connect=CONNECT_SECONDS),
            http_client=openai.DefaultAioHttpClient(trust_env=not is_loopback(self._url)),
        )

    async def complete(self, request: Request) -> Completion:
        """Asks /completions where the request has a prompt, else /chat/completions.

        Raises ModelError. The timeout counts from the moment when the call may start.
        """
        address = Address(request.model, self._url, self._variable, self._key)
        path, body = call_of(request)
        try:
            async with self._slots, asyncio.timeout(self._seconds):
                text = await self._client.post(path, body=body, cast_to=str)
        except self._failures as error:
            raise as_model_error(error, address) from None  # its text may hold the key
        return completion_of(text.encode(errors="replace"), address)

    async def close(self) -> None:
        await self._client.close()


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
        return Completion(address.quote(said[:2000]), MALFORMED, Usage())


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
