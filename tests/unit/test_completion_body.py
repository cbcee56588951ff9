"""Bodies of answers as servers write them: read where they can be read, and never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.adapters.backends.completion_body import parse_completion
from models.adapters.backends.error_map import Address
from models.core.answers.checks import usable_text
from models.core.errors import (
    AccessError,
    ContextOverflow,
    Filtered,
    ModelError,
    RateLimited,
    StrayRefusal,
    Unavailable,
)
from models.core.types import MALFORMED, Completion, Rejection, Usage

ADDRESS = Address("some-model", "http://server/v1", "SOME_KEY", ("sk-secret-0123456789",))
USAGE = {"prompt_tokens": 11, "completion_tokens": 7}


def answer(message: Any = None, finish: Any = "stop", **fields: Any) -> bytes:
    choice = {"message": message or {"content": "f(x)"}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": USAGE, **fields}).encode()


def parse(body: bytes) -> Completion:
    return parse_completion(body, ADDRESS)


CONTENTS = [
    ("f(x)", "f(x)", None),
    ([{"type": "text", "text": "f("}, {"type": "text", "text": "x)"}], "f(x)", None),
    ([{"type": "output_text", "text": "f(x)"}], "f(x)", None),
    (["f(", "x)"], "f(x)", None),
    ({"type": "text", "text": "f(x)"}, "f(x)", None),
    ([{"type": "text", "text": {"value": "f(x)"}}], "f(x)", None),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "f(x)"}],
     "f(x)", "hm"),
    ([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "f(x)"}], "f(x)", "hm"),
    ("<think>hm</think>\n\nf(x)", "f(x)", "hm"),
    ("hm\n</think>\n\nf(x)", "f(x)", "hm"),
    (None, None, None),
    ([], "", None),
]  # fmt: skip


@pytest.mark.parametrize(("content", "text", "reasoning"), CONTENTS)
def test_a_content_is_read_in_each_of_its_forms(
    content: Any, text: str | None, reasoning: str | None
) -> None:
    completion = parse(answer({"content": content}))
    assert (completion.text, completion.reasoning) == (text, reasoning)
    assert completion.usage == Usage(11, 0, 7)
    prompted = json.dumps({"choices": [{"text": content, "finish_reason": "stop"}], "usage": USAGE}).encode()
    assert parse(prompted).text == text


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("value", ["hm", ["h", "m"], {"text": "hm"}, [{"type": "text", "text": "hm"}]])
def test_reasoning_beside_the_content_is_kept_apart(name: str, value: Any) -> None:
    completion = parse(answer({"content": "f(x)", name: value}))
    assert (completion.text, completion.reasoning) == ("f(x)", "hm")


def test_reasoning_under_two_names_is_kept_once() -> None:
    assert parse(answer({"content": "f(x)", "reasoning": "hm", "reasoning_content": "hm"})).reasoning == "hm"


@pytest.mark.parametrize("content", [5, True, 1.5])
def test_a_content_that_is_no_text_is_malformed_and_paid(content: Any) -> None:
    completion = parse(answer({"content": content}))
    assert (completion.finish_reason, completion.usage) == (MALFORMED, Usage(11, 0, 7))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"5", b"<html></html>", b"{", b'{"choices": []}', b'{"choices": [null]}',
             b'{"choices": {"0": 1}}', b'{"choices": [{"message": []}]}', b"\xff", b"[" * 50_000,
             b'{"choices": [{"index": 0}]}', b"data: nothing\n\n"]
)  # fmt: skip
def test_a_body_that_is_no_answer_is_quoted_and_its_usage_unknown(body: bytes) -> None:
    completion = parse(body)
    assert (completion.finish_reason, completion.usage) == (MALFORMED, Usage(estimated=True))
    assert (completion.text or "").isprintable()
    assert len(completion.text or "") <= 200


def event(delta: Any, finish: str | None = None, **fields: Any) -> str:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}
    return f"data: {json.dumps(body)}\n\n"


def test_an_event_stream_is_put_together() -> None:
    stream = (
        ": a comment\n\n" + event({"role": "assistant", "content": ""}) + event({"reasoning_content": "h"})
        + event({"reasoning_content": "m"}) + event({"content": "f("}) + event({"content": "x)"})
        + event({}, "stop") + f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n"
    )  # fmt: skip
    assert parse(stream.encode()) == Completion("f(x)", "stop", Usage(11, 0, 7), None, "hm")


def test_an_event_stream_of_a_completion_is_put_together() -> None:
    parts = [json.dumps({"choices": [{"text": text}]}) for text in ("f(", "x)")]
    assert parse("".join(f"data: {part}\r\n\r\n" for part in parts).encode()).text == "f(x)"


def test_an_event_that_is_a_whole_answer_is_one() -> None:
    body = event({"content": "f(x)"}, "stop", usage=USAGE)
    assert parse(body.encode()) == Completion("f(x)", "stop", Usage(11, 0, 7))


INSIDE = [
    ({"code": 429, "message": "slow down"}, RateLimited),
    ({"code": "429", "message": "slow down"}, RateLimited),
    ({"code": "rate_limit_exceeded"}, RateLimited),
    ({"code": 503, "message": "overloaded"}, Unavailable),
    ({"type": "overloaded_error"}, Unavailable),
    ({"type": "server_error", "code": None}, Unavailable),
    ({"code": 401}, AccessError),
    ({"code": "invalid_api_key"}, AccessError),
    ({"code": "insufficient_quota"}, AccessError),
    ({"code": "context_length_exceeded"}, ContextOverflow),
    ({"code": 400, "message": "maximum context length is 8 tokens"}, ContextOverflow),
    ({"code": "content_filter"}, Filtered),
    ({"message": "upstream connect error"}, StrayRefusal),
    ("upstream connect error", StrayRefusal),
    ([{"code": 503}], Unavailable),
    ({"code": 10**30, "message": [1]}, StrayRefusal),
]


@pytest.mark.parametrize(("error", "expected"), INSIDE)
def test_an_error_inside_a_response_of_success_is_what_its_code_says(
    error: Any, expected: type[ModelError]
) -> None:
    for body in ({"error": error}, {"choices": [{"error": error, "finish_reason": "error"}]}):
        with pytest.raises(ModelError) as raised:
            parse(json.dumps(body).encode())
        assert type(raised.value) is expected
        assert str(raised.value).isprintable()


def test_an_error_in_a_stream_is_an_error() -> None:
    with pytest.raises(RateLimited):
        parse(b'data: {"error": {"code": 429}}\n\n')


def test_the_wait_of_an_error_inside_is_in_the_headers() -> None:
    with pytest.raises(RateLimited) as raised:
        parse_completion(b'{"error": {"code": 429}}', ADDRESS, {"retry-after": "7"})
    assert raised.value.retry_after == 7.0


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource", "ABORT"])
def test_an_answer_that_the_server_broke_off_is_an_outage_and_may_be_billed(finish: str) -> None:
    with pytest.raises(Unavailable) as raised:
        parse(answer({"content": "The answer is f_"}, finish))
    assert raised.value.usage == Usage(11, 0, 7)


FINISHES = [
    ("model_length", "length"), ("MAX_TOKENS", "length"), ("length", "length"), ("SAFETY", "content_filter"),
    ("stop", "stop"), (None, ""), (5, "5"), ({"a": [1]}, ""), ([], ""), (True, ""),
    ("s" * 500, "s" * 29 + "..."),
    ("a\0b\ud83d", "ab?"), ("\x1b[31m", "[31m"), (10**300, "1" + "0" * 28 + "..."),
]  # fmt: skip


@pytest.mark.parametrize(("finish", "expected"), FINISHES)
def test_a_finish_reason_is_a_short_name_whatever_came(finish: Any, expected: str) -> None:
    assert parse(answer(finish=finish)).finish_reason == expected


@pytest.mark.parametrize("reasoning", [None, "hm"])
@pytest.mark.parametrize("content", ["", None, "  ", "<think>and then"])
def test_reasoning_that_uses_up_the_limit_says_what_to_raise(
    content: str | None, reasoning: str | None
) -> None:
    completion = parse(answer({"content": content, "reasoning_content": reasoning}, "length"))
    rejection = usable_text(completion)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "limit_used_up"
    assert "raise max_completion_tokens (or max_tokens)" in rejection.detail
    assert "\n" not in rejection.detail


@pytest.mark.parametrize(
    ("fields", "served"),
    [
        ({"model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1"}, "gpt-4o-2024-08-06 fp_1"),
        ({"model": "small", "system_fingerprint": None}, "small"),
        ({"model": " a\x1b[31m\nb "}, "a[31m b"),
        ({"model": "m" * 500, "system_fingerprint": "f" * 500}, "m" * 60 + "... " + "f" * 60 + "..."),
        ({"model": 7}, None),
        ({}, None),
    ],
)
def test_model_is_named_as_the_server_names_it(fields: dict[str, Any], served: str | None) -> None:
    assert parse(answer(**fields)).served == served
