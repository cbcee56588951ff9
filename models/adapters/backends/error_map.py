"""The one error map: what servers and their clients answer becomes an error of `models.core.errors`.

Errors are told apart by class, status and code, never by their text.
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

BY_STATUS: Mapping[int, type[ModelError]] = {
    **dict.fromkeys((401, 402, 403, 404, 405, 407, 501), AccessError),
    **dict.fromkeys((408, 409, 425), Unavailable),
    429: RateLimited,
}
NO_CREDIT = {"insufficient_quota", "billing_not_active"}
# OpenAI's code and llama.cpp's type; vLLM names the parameter that is too long instead.
TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
TOO_LONG_PARAM = "input_tokens"
QUOTED = 200


@dataclass(frozen=True, slots=True)
class Address:
    """Where a call goes, for messages. `key_variable` is the environment variable that holds the key;
    the key itself is here only to be struck out of what the server says."""

    model: str
    url: str
    key_variable: str
    key: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"

    def quote(self, said: object) -> str:
        """What a server said, on one line, short and without the key."""
        text = " ".join(str(said).split())
        text = text.replace(self.key, "[key]") if self.key else text
        return text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."


def error_of_status(
    status: int, headers: Mapping[str, str], body: bytes | str, address: Address
) -> ModelError:
    """The error of an answer that is none: its status is not 2xx."""
    error = _error_object(body)
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    said = f"{address}: status {status}: {address.quote(error.get('message') or _text(body))}"
    if status == 429 and NO_CREDIT & {code, kind}:
        return AccessError(
            f"{address}: the quota is used up; pay, or use another key in {address.key_variable}"
        )
    if status in (400, 413, 422) and (TOO_LONG & {code, kind} or param == TOO_LONG_PARAM):
        return ContextOverflow(said)
    found = BY_STATUS.get(status) or _by_hundred(status)
    if found is AccessError:
        return AccessError(f"{address}: status {status}; {_remedy(status, address)}")
    if found is RateLimited:
        return RateLimited(said, retry_after(headers, time.time()))
    return found(said)


def as_model_error(error: Exception, address: Address) -> ModelError:
    """The error to raise in place of one of the openai client.

    What nobody foresaw becomes an AccessError: it stops the run and reaches a person, where a
    TransportError would be tried for ever and a BadRequest would be blamed on the row.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return error_of_status(error.status_code, error.response.headers, error.response.content, address)
    if isinstance(error, openai.APIResponseValidationError):
        return Unavailable(f"{address}: the answer is not what the API promises")
    if isinstance(error, openai.APIConnectionError):
        return as_connection_error(error.__cause__ or error, address)
    if isinstance(error, openai.OpenAIError):
        return AccessError(f"{address}: the openai client refused the call: {type(error).__name__}")
    return as_connection_error(error, address)


def as_connection_error(error: BaseException, address: Address) -> Unavailable:
    """The error to raise where a call brought no answer at all."""
    if isinstance(error, TimeoutError):
        return Unavailable(f"{address}: no answer in time")
    return Unavailable(f"{address}: no answer: {address.quote(error) or type(error).__name__}")


def told_limits(headers: Mapping[str, str]) -> Limits | None:
    """OpenAI's `x-ratelimit-limit-requests` and `-tokens`, a minute; None where neither is told."""
    requests = headers.get("x-ratelimit-limit-requests")
    tokens = headers.get("x-ratelimit-limit-tokens")
    if requests is None and tokens is None:
        return None
    return Limits(_whole(requests), _whole(tokens))


def _error_object(body: bytes | str) -> Mapping[str, Any]:
    """What servers say of an error: `{"error": {...}}`, the inner object alone, or anything."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    if isinstance(found, dict):
        inner = found.get("error", found)
        return inner if isinstance(inner, dict) else {"message": str(inner)}
    return {}


def _text(body: bytes | str) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number and number >= 1 else None


def _by_hundred(status: int) -> type[ModelError]:
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
    """Seconds to wait, from Retry-After (seconds or an HTTP date) or OpenAI's `retry-after-ms`.

    `now` is in seconds since the epoch; the server's own `Date` is preferred, since clocks differ.
    None where the server did not say, or said what nobody can read.
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
