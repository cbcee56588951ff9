"""Hypothesis strategies for what a provider may send: answers, errors, headers; right, wrong and absurd."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.scripted_replies import NORMAL

ODD_TEXTS = (
    "", " ", "\0", "caf\ud83d", "\udc00\ud800", "\x1b[31mred\x1b]0;title\x07", "\u202etext", "\ufeff{}",
    "\x85", "<!DOCTYPE html><html></html>", "NaN", "x" * 5000, "<think>", "</think>", f"{NORMAL}\0",
    f"<think>a</think>{NORMAL}",
)  # fmt: skip
ODD_NUMBERS = (
    0,
    -1,
    -(10**30),
    10**30,
    2**63,
    2**31,
    1e30,
    1e308,
    0.5,
    -0.0,
    float("nan"),
    float("inf"),
    True,
)
# Above what any prompt or answer of a test counts, so that it is what the provider bills.
SANE_TOKENS = st.integers(5_000, 10**6)
FINISHES = ("stop", "length", "content_filter", "tool_calls", "error", "abort", "model_length", "",
            "insufficient_system_resource")  # fmt: skip
CODES = ("rate_limit_exceeded", "context_length_exceeded", "content_filter", "server_error", "overloaded")
WAITS = (408, 409, 425, 429, 500, 502, 503, 504, 520, 529)
STRAY = (400, 404, 413, 418, 422, 424, 451, 498, 499)
PAUSES = (301, 401, 402, 403, 405, 407, 501)
ERROR_STATUSES = (*WAITS, *STRAY, *PAUSES)


def short(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the strategy under a short name: Hypothesis warns of descriptions as long as a grammar."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return drawn()


any_text = short(
    st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=()), max_size=40) | st.just(NORMAL)
)
any_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.integers(-(10**6), 10**6),
    st.floats(),
    any_text,
)
any_json = short(
    st.recursive(
        any_scalar,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
        max_leaves=8,
    )
)


_MISSING = object()


def mappings(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings in which each field is mostly right, else of any type, or missing."""
    odd = {
        name: st.integers(0, 9).flatmap(lambda dice, value=value: _by_chance(dice, value))
        for name, value in fields.items()
    }
    return short(
        st.fixed_dictionaries(odd).map(
            lambda drawn: {name: value for name, value in drawn.items() if value is not _MISSING}
        )
    )


def _by_chance(dice: int, value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if dice < 8:
        return value
    return any_json if dice == 8 else st.just(_MISSING)


tokens = st.one_of(SANE_TOKENS, st.sampled_from(ODD_NUMBERS).filter(lambda number: not 0 <= number <= 10**9))
usages = mappings(
    prompt_tokens=tokens, completion_tokens=tokens, total_tokens=tokens,
    prompt_tokens_details=mappings(cached_tokens=tokens),
    completion_tokens_details=mappings(reasoning_tokens=tokens),
)  # fmt: skip
parts = st.lists(
    st.one_of(
        mappings(type=st.sampled_from(("text", "thinking", "image")), text=any_text, thinking=any_text)
    ),
    max_size=3,
)
contents = st.one_of(st.just(NORMAL), any_text, parts)
messages = mappings(
    role=st.just("assistant"), content=contents, refusal=st.none() | any_text, reasoning_content=any_text,
    reasoning=any_text, tool_calls=any_json,
)  # fmt: skip
finishes = st.sampled_from(FINISHES)
choices = mappings(index=st.just(0), message=messages, text=any_text, finish_reason=finishes)
completions = mappings(
    id=any_text, object=st.just("chat.completion"), model=any_text, usage=usages,
    choices=st.lists(choices, min_size=1, max_size=2) | st.just([]),
)  # fmt: skip
errors = st.one_of(
    mappings(error=mappings(message=any_text, type=any_text, code=st.sampled_from(CODES), param=any_text)),
    mappings(message=any_text, code=st.sampled_from(CODES), detail=any_json),
    any_json,
)
durations = st.sampled_from(
    ("6m0s", "1.5s", "20ms", "1h2m3s", "1d", "-5", "0", "1e400", "soon", "", "6m0s6m0s")
)
dates = st.sampled_from(
    ("Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Xyz, 99 Abc 0000")
)
header_values = st.one_of(
    durations, dates,
    st.sampled_from(("86400", "1e30", "nan", "inf", "9" * 400, "50", "0.001", "+5", "\u0665")),
    st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_categories=("Cc",)), max_size=30),
)  # fmt: skip
HEADERS = (
    "retry-after", "retry-after-ms", "date", "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
)  # fmt: skip
headers = st.dictionaries(st.sampled_from(HEADERS), header_values, max_size=4)


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def _torn(body: bytes, at: int) -> bytes:
    return body[: at % (len(body) + 1)]


# Deeper than Python's own stack.
deep = st.integers(1, 20_000).map(lambda depth: b'{"choices":' + b"[" * depth)
bodies = st.one_of(
    completions.map(_encoded), errors.map(_encoded), any_json.map(_encoded), deep, st.binary(max_size=60),
    st.builds(_torn, completions.map(_encoded), st.integers(0, 1000)),
)  # fmt: skip


# Each as the normal reply with some fields changed, for replies that come close to being right.
def _some(reply: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Keep some of the changes: a reply in which all is changed is far from right."""
    kept = list(reply)[: 1 + len(str(reply)) % 4]
    return {name: reply[name] for name in kept} | more


_changes = mappings(
    content=contents, finish_reason=finishes, usage=usages,
    message=messages.map(lambda fields: {**fields, "content": NORMAL}),
)  # fmt: skip
near_replies = st.builds(
    _some, _changes, st.sampled_from(({}, {}, {}, {"drop": "usage"}, {"drop": "choices"}, {"sse": True}))
)


def rules() -> st.SearchStrategy[dict[str, Any]]:
    """Rules of a script, without rows. What makes a caller wait happens twice at most, and no header of it
    says longer than a blink; nothing among them pauses a run."""
    quick = st.sampled_from(("0", "0.1", "soon", "", "-5", "nan"))
    waiting = st.fixed_dictionaries(
        {"status": st.sampled_from((*WAITS, 404, 424, 498, 499)), "json": errors},
        optional={"headers": st.fixed_dictionaries({"retry-after": quick})},
    )
    closing = st.just({"close": True})
    # A bare 400 is for good; some of these a product may ask again.
    refused = st.fixed_dictionaries({"status": st.sampled_from((400, 413, 418, 422, 451)), "json": errors})
    torn = st.builds(lambda body: {"raw": body.decode("latin-1")}, bodies)
    answered = st.one_of(
        near_replies, near_replies, near_replies, completions.map(lambda body: {"body": body}),
        any_json.map(lambda body: {"body": body}), torn, refused,
    )  # fmt: skip
    return st.one_of(
        answered.map(lambda reply: {"reply": reply}),
        answered.map(lambda reply: {"reply": reply}),
        st.builds(
            lambda reply, times: {"reply": reply, "times": times},
            waiting | closing | errors.map(lambda body: {"json": body}),
            st.integers(1, 2),
        ),
    )


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return `count` examples, the same in each run of the tests."""
    examples: list[Any] = []

    @settings(
        max_examples=count, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def collect(example: Any) -> None:
        examples.append(example)

    collect()
    return (examples * (count // len(examples) + 1))[:count]
