"""The error map of the backends: statuses, broken connections, the clients' own errors."""

from __future__ import annotations

import json

import aiohttp
import httpx2
import openai
import pytest
from openai import _exceptions as openai_exceptions

from models.adapters.backends.error_map import (
    Address,
    map_client_error,
    map_connection_error,
    map_status_error,
)
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

KEY = "sk-secret-0123456789"
ADDRESS = Address("some-model", "http://server/v1", "SOME_KEY", (KEY,))
CALL = httpx2.Request("POST", "http://server/v1/chat/completions", headers={"Authorization": f"Bearer {KEY}"})
CLIENT = openai.OpenAI(api_key=KEY, base_url="http://server/v1")


def raised(status: int, headers: dict[str, str] | None = None, **error: object) -> openai.APIStatusError:
    """Return the exception that the client raises for this answer, made by the client's own code."""
    response = httpx2.Response(status, headers=headers, json={"error": error}, request=CALL)
    return CLIENT._make_status_error_from_response(response)


def mapped(error: Exception) -> ModelError:
    return map_client_error(error, ADDRESS)


RAISED = [
    (raised(400), StrayRefusal),
    (raised(401), AccessError),
    (raised(403), AccessError),
    (raised(404), AccessError),
    (raised(409), Unavailable),
    (raised(422), BadRequest),
    (raised(429), RateLimited),
    (raised(500), Unavailable),
    (openai.APIStatusError("odd", response=httpx2.Response(418, request=CALL), body=None), BadRequest),
    (openai.OAuthError(response=httpx2.Response(401, request=CALL), body=None), AccessError),
    (openai.APIResponseValidationError(httpx2.Response(200, request=CALL), body=None), Unavailable),
    (openai.APITimeoutError(CALL), Unavailable),
    (openai.APIConnectionError(request=CALL), Unavailable),
    (openai.APIError("in a stream", CALL, body=None), AccessError),
    (openai.OpenAIError("client not configured"), AccessError),
    (openai_exceptions.SubjectTokenProviderError("no token"), AccessError),
]
# Of features that no backend uses: parsed answers, streams, webhooks.
NEVER_RAISED_HERE = {
    "LengthFinishReasonError",
    "ContentFilterFinishReasonError",
    "InvalidWebhookSignatureError",
    "WebSocketConnectionClosedError",
    "WebSocketQueueFullError",
}


@pytest.mark.parametrize(("error", "expected"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
def test_each_exception_of_the_client_has_its_error(error: Exception, expected: type[ModelError]) -> None:
    assert type(mapped(error)) is expected


def test_every_exception_of_the_installed_client_is_mapped() -> None:
    public = {
        name
        for module in (openai, openai_exceptions)
        for name, value in list(vars(module).items())
        if type(value) is type and issubclass(value, Exception) and not name.startswith("_")
    }
    assert public == {type(error).__name__ for error, _ in RAISED} | NEVER_RAISED_HERE


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, AccessError),
        (402, AccessError),
        (405, AccessError),
        (407, AccessError),
        (408, Unavailable),
        (413, ContextOverflow),
        (425, Unavailable),
        (451, BadRequest),
        (501, AccessError),
        (502, Unavailable),
        (529, Unavailable),
    ],
)
def test_unknown_status_is_named_by_its_number(status: int, expected: type[ModelError]) -> None:
    assert type(mapped(raised(status))) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(400, code="context_length_exceeded"), ContextOverflow),
        (raised(400, code=400, type="exceed_context_size_error"), ContextOverflow),
        (raised(400, code=400, type="BadRequestError", param="input_tokens"), ContextOverflow),
        (raised(413, code="context_length_exceeded"), ContextOverflow),
        (raised(400, message="insufficient_quota"), StrayRefusal),
        (raised(429, code="insufficient_quota"), AccessError),
        (raised(429, type="insufficient_quota"), AccessError),
        (raised(429, message="insufficient_quota"), RateLimited),
        (raised(500, code="context_length_exceeded"), ContextOverflow),
    ],
)
def test_codes_decide_and_texts_do_not(error: Exception, expected: type[ModelError]) -> None:
    assert type(mapped(error)) is expected


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError(24, "too many files")])
def test_a_broken_connection_is_no_answer(error: Exception) -> None:
    assert type(mapped(error)) is Unavailable


def test_a_timeout_says_how_long_it_was() -> None:
    error = map_connection_error(TimeoutError(), ADDRESS, 2.0)
    assert type(error) is TimedOut
    assert str(error).endswith("no answer within 2 s")


SENT = Address("some-model", "http://server/v1", "SOME_KEY", (KEY,), frozenset({"temperature", "max_tokens"}))
CONFIGURATION = [
    (400, {"code": "unsupported_parameter", "param": "max_tokens"}, "to max_completion_tokens in params"),
    (400, {"code": "unsupported_value", "param": "temperature"}, "temperature is refused"),
    (422, {"code": "unknown_parameter", "param": "top_k"}, "top_k is refused"),
    (400, {"param": "temperature", "message": "must be at most 2"}, "must be at most 2"),
    (400, {"code": "invalid_api_key"}, "set SOME_KEY to a valid key"),
    (400, {"code": "model_not_found"}, "check the model 'some-model'"),
    (404, {"type": "model_not_found"}, "check the model 'some-model'"),
    (400, {"param": "model"}, "check the model 'some-model'"),
    (403, {"code": "insufficient_credits"}, "the quota is used up"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "remedy"), CONFIGURATION)
def test_what_every_request_has_is_the_configuration_s(
    status: int, error: dict[str, str], remedy: str
) -> None:
    mapped = map_status_error(status, {}, json.dumps({"error": error}), SENT, answers=True)
    assert type(mapped) is AccessError
    assert remedy in str(mapped)


@pytest.mark.parametrize(("status", "remedy"), [
    (401, "no key was sent; name its variable, such as OPENAI_API_KEY, in api_key_env"),
    (403, "no key was sent"),
    (402, "; the account has no credit"),
])  # fmt: skip
def test_a_refusal_of_a_call_without_a_key_names_the_remedy(status: int, remedy: str) -> None:
    keyless = Address("some-model", "http://server/v1", "")
    assert remedy in str(map_status_error(status, {}, b"{}", keyless))


@pytest.mark.parametrize("param", ["messages", "messages.[0].content", "prompt", "", None, "\x00", 5])
def test_what_is_wrong_with_the_words_is_the_row_s(param: object) -> None:
    body = json.dumps({"error": {"message": "invalid", "param": param}})
    assert isinstance(map_status_error(422, {}, body, SENT), BadRequest)


def test_a_parameter_may_be_named_as_fastapi_names_it() -> None:
    body = json.dumps({"detail": [{"loc": ["body", "temperature"], "msg": "too high"}]})
    assert "temperature is refused" in str(map_status_error(422, {}, body, SENT))


@pytest.mark.parametrize("status", [400, 404, 424, 498, 499])
def test_a_refusal_without_a_reason_is_stray_where_the_model_answers(status: int) -> None:
    body = b'{"error": {"message": "upstream connect error"}}'
    assert type(map_status_error(status, {}, body, ADDRESS, answers=True)) is StrayRefusal


@pytest.mark.parametrize(
    ("code", "expected"),
    [("invalid_prompt", BadRequest), ("400", StrayRefusal), (400, StrayRefusal), (None, StrayRefusal)],
)
def test_a_400_with_a_code_is_not_stray(code: object, expected: type[ModelError]) -> None:
    body = json.dumps({"error": {"message": "no", "code": code}})
    assert type(map_status_error(400, {}, body, ADDRESS)) is expected


def test_a_limit_of_tokens_is_no_context() -> None:
    body = json.dumps({"error": {"message": "maximum number of tokens per minute reached"}})
    assert type(map_status_error(429, {}, body, ADDRESS)) is RateLimited


FILTERED = [
    {"code": "content_filter"},
    {"code": "invalid_request", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    {"code": "content_policy_violation"},
    {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "..."}},
]


@pytest.mark.parametrize("error", FILTERED)
def test_a_content_filter_refuses_the_row(error: dict[str, object]) -> None:
    mapped = map_status_error(400, {}, json.dumps({"error": error}), ADDRESS)
    assert isinstance(mapped, Filtered)
    assert mapped.reason == "refusal"


@pytest.mark.parametrize("status", [500, 503, *range(520, 527), 529, 530, 598])
def test_an_outage_tells_how_long_it_takes(status: int) -> None:
    error = map_status_error(status, {"Retry-After".lower(): "7"}, b"", ADDRESS)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7.0


def test_a_rate_limit_carries_its_wait() -> None:
    error = mapped(raised(429, {"Retry-After": "3"}, message="slow down"))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 3.0
    assert "slow down" in str(error)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "set SOME_KEY to a valid key"),
        (402, "SOME_KEY"),
        (403, "SOME_KEY may not use model some-model"),
        (404, "check the model 'some-model' and the base_url http://server/v1"),
        (405, "check the base_url http://server/v1"),
    ],
)
def test_access_errors_say_what_to_do(status: int, remedy: str) -> None:
    assert remedy in str(mapped(raised(status)))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
@pytest.mark.parametrize("code", ["insufficient_quota", "context_length_exceeded", None])
def test_errors_never_show_the_key(status: int, code: str | None) -> None:
    error = mapped(raised(status, message=f"bad key {KEY}", code=code))
    assert KEY not in f"{error} {error!r} {ADDRESS!r} {ADDRESS}"


def test_server_message_is_cut_to_one_short_line() -> None:
    message = str(mapped(raised(400, message="first\nsecond " + "x" * 10_000)))
    assert "first second" in message
    assert "\n" not in message
    assert len(message) < 400


AIOHTTP_ERRORS = sorted(
    (
        value
        for value in vars(aiohttp).values()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    ),
    key=lambda kind: kind.__name__,
)
# Of websockets and of servers; none is raised by a call whose body is read as bytes.
NEVER_RAISED_BY_A_CALL = {"WSMessageTypeError", "WebSocketError", "EofStream"} | {
    f"BadContentDisposition{part}" for part in ("Header", "Param")
}


@pytest.mark.parametrize("kind", AIOHTTP_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_http_client_is_caught(kind: type[Exception]) -> None:
    """The backend catches these two families and no others."""
    assert kind.__name__ in NEVER_RAISED_BY_A_CALL or issubclass(kind, aiohttp.ClientError | OSError)


@pytest.mark.parametrize(
    "body", [b"", b"<html>gone</html>", b"[1]", b'"text"', b'{"error": "text"}', b"\xff{"]
)
@pytest.mark.parametrize("status", [400, 429, 500])
def test_malformed_error_body_gives_the_error_of_its_status(status: int, body: bytes) -> None:
    expected = {400: StrayRefusal, 429: RateLimited, 500: Unavailable}[status]
    assert type(map_status_error(status, {}, body, ADDRESS)) is expected


def test_an_error_object_may_stand_alone() -> None:
    assert "too many" in str(map_status_error(429, {}, b'{"message": "too many"}', ADDRESS))


def test_a_broken_connection_does_not_tell_the_key() -> None:
    assert KEY not in str(map_connection_error(OSError(f"http://{KEY}@server"), ADDRESS))
