"""Map every error of a model server or its client to one of four kinds.

    the row's             BadRequest: this request cannot be answered; the others go on
                          ContextOverflow (documentation is left out), Filtered, StrayRefusal (asked again)
    the server's, passing RateLimited, Unavailable: the same request may be answered later
    the configuration's   AccessError: no request can be answered until a person changes something
    the worker's          WorkerUnusable: raised only by engines in this process (`vllm.py`)

A content filter is `refusal`; 400, 404, 424, 498 and 499 without a reason are asked again; another 4xx is
`bad_request`. 429, 5xx, 408, 409, 425, a broken connection and finish reasons such as `error` pass. 401, 402,
403, 405, 501, codes of key, quota or model, and unknown parameters pause the run with one line.

Statuses, codes, types and parameters decide. Texts decide in one tuple, CONTEXT_PHRASES: most servers have no
code for a request that is too long. The same map serves errors inside a response 2xx and lines of a batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.adapters.backends.limit_headers import retry_after
from models.core.answers.cleaning import clean_line, clean_name
from models.core.errors import (
    AccessError,
    BadRequest,
    ContextOverflow,
    Filtered,
    ModelError,
    RateLimited,
    StrayRefusal,
    TimedOut,
    Unavailable,
)
from models.core.types import Usage

ERROR_BY_STATUS: Mapping[int, type[ModelError]] = {
    **dict.fromkeys((401, 402, 403, 405, 407, 501), AccessError),
    **dict.fromkeys((400, 404, 424, 498, 499), StrayRefusal),
    **dict.fromkeys((408, 409, 425), Unavailable),
    429: RateLimited,
}
# What a code or type means, as a status, where the response has none of its own.
STATUS_BY_CODE: Mapping[str, int] = {
    **dict.fromkeys(("invalid_api_key", "authentication_error", "unauthorized"), 401),
    **dict.fromkeys(("permission_error", "permission_denied"), 403),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "tokens", "requests",
                     "resource_exhausted", "insufficient_quota", "throttling_exception"), 429),
    **dict.fromkeys(("server_error", "internal_server_error", "internal_error", "api_error"), 500),
    **dict.fromkeys(("overloaded", "overloaded_error", "engine_overloaded", "service_unavailable",
                     "unavailable", "capacity_exceeded"), 503),
    **dict.fromkeys(("timeout", "timeout_error", "deadline_exceeded"), 504),
}  # fmt: skip
QUOTA_CODES = {"insufficient_quota", "billing_not_active", "billing_hard_limit_reached",
               "insufficient_credits", "insufficient_balance", "credit_balance_too_low"}  # fmt: skip
FILTER_CODES = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation",
                "data_inspection_failed", "moderation_blocked"}  # fmt: skip
KEY_CODES = {"invalid_api_key", "authentication_error"}
MODEL_CODES = {"model_not_found", "model_not_available", "deploymentnotfound", "invalid_model"}
PARAMETER_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter",
                   "missing_required_parameter"}  # fmt: skip
# OpenAI's code and llama.cpp's type; vLLM names the parameter that is too long instead.
CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
CONTEXT_PARAM = "input_tokens"
# The wordings of common servers and providers, in lower case.
CONTEXT_PHRASES = (
    "maximum context length", "context length exceeded", "exceeds the available context size",
    "context window", "exceeds the context length", "exceed context limit", "maximum model length",
    "inputs tokens + max_new_tokens", "`inputs` must have less than", "prompt is too long",
    "input is too long", "too large for model with", "maximum number of tokens",
    "longer than the model's context length", "max_model_len",
)  # fmt: skip
LARGER_THAN_LIMIT = "request too large for model"
QUOTED = 200


@dataclass(frozen=True, slots=True)
class Address:
    """The model and URL of a call, for error messages.

    `key_variable` is the environment variable that holds the key, or empty: none is sent. `secrets` are
    removed from quoted text. `params` are the parameters that the experiment sends with every request.
    """

    model: str
    url: str
    key_variable: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    params: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"

    def quote(self, message: object) -> str:
        """Return a server's message on one printable line, short and without secrets."""
        text = message if isinstance(message, str) else json.dumps(message, default=str)
        for secret in self.secrets:
            text = text.replace(secret, "[key]")
        return clean_line(text, QUOTED)


def map_status_error(
    status: int, headers: Mapping[str, str], body: bytes | str, address: Address, answers: bool = False
) -> ModelError:
    """Return the error for a response whose status is not 2xx.

    A 404 is stray if the model `answers` other calls; else the model or the base_url is wrong.
    """
    error = map_error(status, headers, read_error(body), address)
    if status == 404 and isinstance(error, StrayRefusal) and not answers:
        return AccessError(f"{address}: status 404; {_remedy(404, address)}")
    return error


def map_error(
    status: int, headers: Mapping[str, str], error: Mapping[str, Any], address: Address
) -> ModelError:
    """Return the error for a status and the object that describes it."""
    quoted = address.quote(error.get("message") or "")
    message = f"{address}: status {status}: {quoted}"
    if coded := _map_codes(status, error, address, quoted, message):
        return coded
    kind = ERROR_BY_STATUS.get(status) or _default_error(status)
    if status == 400 and clean_name(error.get("code")).replace("_", "").isalpha():
        kind = BadRequest  # a reason is given, so it is not stray
    if kind is AccessError:
        return AccessError(f"{address}: status {status}; {_remedy(status, address)}")
    if kind is RateLimited:
        return RateLimited(message, retry_after(headers, time.time()))
    if kind is Unavailable:
        return Unavailable(message, retry_after(headers, time.time()))
    return kind(message)


def _map_codes(
    status: int, error: Mapping[str, Any], address: Address, quoted: str, message: str
) -> ModelError | None:
    """Return the error that code, type or parameter tell, whatever the status; None if they tell none."""
    codes = {name.lower() for name in _codes(error)}
    if codes & FILTER_CODES or _is_flagged(error):
        return Filtered(message)
    if codes & QUOTA_CODES:
        other = f" in {address.key_variable}" if address.key_variable else ""
        return AccessError(f"{address}: the quota is used up; pay, or use another key{other}")
    if _is_too_long(status, codes, error):
        return ContextOverflow(message)
    return _configuration(status, codes, error, address, quoted)


def map_client_error(error: Exception, address: Address) -> ModelError:
    """Return the error to raise in location of one of the openai client.

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


def map_connection_error(error: BaseException, address: Address, seconds: float | None = None) -> Unavailable:
    """Return the error to raise when a call got no response at all. It was given `seconds` for one.

    What was sent may be billed, also if the connection broke; without a connection, nothing was sent.
    """
    import aiohttp

    unconnected = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    if isinstance(error, TimeoutError) and not unconnected:
        return TimedOut(
            f"{address}: no answer " + ("in time" if seconds is None else f"within {seconds:g} s")
        )
    broken = (aiohttp.ClientOSError, aiohttp.ServerConnectionError, aiohttp.ClientPayloadError)
    text = address.quote(str(error)) or type(error).__name__
    usage = Usage(estimated=True) if isinstance(error, broken) and not unconnected else None
    return Unavailable(f"{address}: no answer: {text}", usage=usage)


def read_error(body: bytes | str) -> Mapping[str, Any]:
    """Return what a body says about an error; a body that is no JSON is its message."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {"message": text}
    if not isinstance(answer, dict):
        return {"message": text}
    return {"message": text} | {
        name: value for name, value in error_object(answer.get("error") or answer).items() if value
    }


def error_object(inner: object) -> Mapping[str, Any]:
    """Return the description of an error as an object."""
    if isinstance(inner, list) and inner:
        inner = inner[0]
    return inner if isinstance(inner, dict) else {"message": str(inner)[: 4 * QUOTED]}


def status_of_error(error: Mapping[str, Any]) -> int:
    """Return the status that the code or type of an error stands for; that of a stray refusal if none."""
    for value in (error.get("status"), *_codes(error)):
        name = clean_name(value).lower()
        if name.isascii() and name.isdigit() and 400 <= int(name) < 600:
            return int(name)
        if name in STATUS_BY_CODE:
            return STATUS_BY_CODE[name]
    return 400


def _codes(error: Mapping[str, Any]) -> list[str]:
    """Return the code and the type of an error, and of the one inside it that Azure adds."""
    inner = error.get("innererror")
    values = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return [name for value in values if (name := clean_name(value))]


def _is_flagged(error: Mapping[str, Any]) -> bool:
    """Tell whether moderation refuses the request, as OpenRouter says it."""
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _is_too_long(status: int, codes: set[str], error: Mapping[str, Any]) -> bool:
    """Tell whether the request is too long for the model. A plain 413 is one too."""
    if codes & CONTEXT_CODES or error.get("param") == CONTEXT_PARAM:
        return True
    message = str(error.get("message"))[: 4 * QUOTED].lower()
    if status == 429:  # more tokens than the limit of a minute: no wait will help
        return LARGER_THAN_LIMIT in message
    return status == 413 or (status in (400, 422, 500) and any(each in message for each in CONTEXT_PHRASES))


def _configuration(
    status: int, codes: set[str], error: Mapping[str, Any], address: Address, quoted: str
) -> AccessError | None:
    """Return the error of a key, a model or a parameter that every request has; None if it is none."""
    if status >= 500 or status == 429:
        return None
    if codes & KEY_CODES:
        return AccessError(f"{address}: status {status}; {_remedy(401, address)}")
    param = _param(error)
    if codes & MODEL_CODES or param == "model":
        return AccessError(f"{address}: status {status}; {_remedy(404, address)}")
    if not codes & PARAMETER_CODES and param not in address.params:
        return None
    remedy = "rename max_tokens to max_completion_tokens" if param == "max_tokens" else "mend or remove it"
    return AccessError(f"{address}: {param or 'a parameter'} is refused ({quoted}); {remedy} in params")


def _param(error: Mapping[str, Any]) -> str:
    """Return the parameter that an error names, as OpenAI or as FastAPI (`loc`) does; empty if none."""
    detail = error.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else None
    location = first.get("loc") if isinstance(first, dict) else None
    last = location[-1] if isinstance(location, list) and location else None
    return clean_name(error.get("param") or last)


def _default_error(status: int) -> type[ModelError]:
    if status >= 500:
        return Unavailable
    return BadRequest if status >= 400 else AccessError


def _remedy(status: int, address: Address) -> str:
    if status in (401, 403) and not address.key_variable:
        return "no key was sent; name its variable, such as OPENAI_API_KEY, in api_key_env of the model"
    if status == 401:
        return f"the key in {address.key_variable} is refused; set {address.key_variable} to a valid key"
    if status == 402:
        owner = f" of the key in {address.key_variable}" if address.key_variable else ""
        return f"the account{owner} has no credit"
    if status == 403:
        return f"the key in {address.key_variable} may not use model {address.model}"
    if status == 404:
        return f"check the model {address.model!r} and the base_url {address.url}"
    return f"check the base_url {address.url}"
