"""Map every error of a model server or its client to an error of `models.core.errors`.

    rate limit (429)                            RateLimited, with the seconds of Retry-After
    quota used up (429, insufficient_quota)     AccessError
    context length (400, 413, 422 with a code)  ContextOverflow
    content filter or other refusal (400, 422)  BadRequest
    key, model or base_url (401 to 405, 501)    AccessError
    timeout, connection broken, 5xx             Unavailable

Classes, statuses and codes decide, never texts. An answer with the finish reason `content_filter` is no
error: `models.core.answers.checks` rejects it as a refusal. Engines in this process raise the same errors
themselves: see `vllm.py` and `causal_model.py`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from models.core.errors import AccessError, BadRequest, ContextOverflow, ModelError, RateLimited, Unavailable
from models.core.types import Limits

ERROR_BY_STATUS: Mapping[int, type[ModelError]] = {
    **dict.fromkeys((401, 402, 403, 404, 405, 407, 501), AccessError),
    **dict.fromkeys((408, 409, 425), Unavailable),
    429: RateLimited,
}
QUOTA_CODES = {"insufficient_quota", "billing_not_active"}
# OpenAI's code and llama.cpp's type; vLLM names the parameter that is too long instead.
CONTEXT_LENGTH_CODES = {"context_length_exceeded", "exceed_context_size_error"}
CONTEXT_LENGTH_PARAM = "input_tokens"
QUOTED = 200


@dataclass(frozen=True, slots=True)
class Address:
    """The model and URL of a call, for error messages.

    `key_variable` is the environment variable that holds the key; `key` is removed from quoted text.
    """

    model: str
    url: str
    key_variable: str
    key: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"

    def quote(self, message: object) -> str:
        """Return a server's message on one line, short and without the key."""
        text = " ".join(str(message).split())
        text = text.replace(self.key, "[key]") if self.key else text
        return text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."


def map_status_error(
    status: int, headers: Mapping[str, str], body: bytes | str, address: Address
) -> ModelError:
    """Return the error for a response whose status is not 2xx."""
    error = _error_object(body)
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    message = f"{address}: status {status}: {address.quote(error.get('message') or _text(body))}"
    if status == 429 and QUOTA_CODES & {code, kind}:
        return AccessError(
            f"{address}: the quota is used up; pay, or use another key in {address.key_variable}"
        )
    if status in (400, 413, 422) and (CONTEXT_LENGTH_CODES & {code, kind} or param == CONTEXT_LENGTH_PARAM):
        return ContextOverflow(message)
    kind_of_error = ERROR_BY_STATUS.get(status) or _default_error(status)
    if kind_of_error is AccessError:
        return AccessError(f"{address}: status {status}; {_remedy(status, address)}")
    if kind_of_error is RateLimited:
        return RateLimited(message, retry_after(headers, time.time()))
    return kind_of_error(message)


def map_client_error(error: Exception, address: Address) -> ModelError:
    """Return the error to raise in place of one of the openai client.

    An unknown error becomes an AccessError: it stops the run and reaches a person. A TransportError would be
    retried for ever, and a BadRequest would be blamed on the row.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return map_status_error(error.status_code, error.response.headers, error.response.content, address)
    if isinstance(error, openai.APIResponseValidationError):
        return Unavailable(f"{address}: the answer is not what the API promises")
    if isinstance(error, openai.APIConnectionError):
        return map_connection_error(error.__cause__ or error, address)
    if isinstance(error, openai.OpenAIError):
        return AccessError(f"{address}: the openai client refused the call: {type(error).__name__}")
    return map_connection_error(error, address)


def map_connection_error(error: BaseException, address: Address) -> Unavailable:
    """Return the error to raise when a call got no response at all."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"{address}: no answer in time")
    return Unavailable(f"{address}: no answer: {address.quote(error) or type(error).__name__}")


def limits_from_headers(headers: Mapping[str, str]) -> Limits | None:
    """Return the rate limits per minute from `x-ratelimit-limit-*`; None without such headers."""
    requests = headers.get("x-ratelimit-limit-requests")
    tokens = headers.get("x-ratelimit-limit-tokens")
    if requests is None and tokens is None:
        return None
    return Limits(_positive_int(requests), _positive_int(tokens))


def _error_object(body: bytes | str) -> Mapping[str, Any]:
    """Return the error's description: the object in `{"error": {...}}` or the body itself, else {}."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    if isinstance(answer, dict):
        inner = answer.get("error", answer)
        return inner if isinstance(inner, dict) else {"message": str(inner)}
    return {}


def _text(body: bytes | str) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body


def _positive_int(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number and number >= 1 else None


def _default_error(status: int) -> type[ModelError]:
    if status >= 500:
        return Unavailable
    return BadRequest if status >= 400 else AccessError


def _remedy(status: int, address: Address) -> str:
    if status == 401:
        return f"the key in {address.key_variable} is refused; set {address.key_variable} to a valid key"
    if status == 402:
        return f"the account of the key in {address.key_variable} has no credit"
    if status == 403:
        return f"the key in {address.key_variable} may not use model {address.model}"
    if status == 404:
        return f"check the model {address.model!r} and the base_url {address.url}"
    return f"check the base_url {address.url}"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait, from Retry-After (seconds or an HTTP date) or OpenAI's `retry-after-ms`.

    `now` is in seconds since the epoch; the server's own `Date` is preferred, since clocks differ.
    Return None if the headers are missing or unreadable.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    if (until := _epoch(value)) is None:
        return None
    return max(0.0, until - (_epoch(headers.get("date")) or now))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _epoch(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
