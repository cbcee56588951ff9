"""A request survives being stored: what is asked later is what was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from models.adapters.backends.batch_api import batch_endpoint, batch_line
from models.adapters.backends.openai import path_and_body
from models.core.types import Message, Request

ROLES = st.sampled_from(["system", "user", "assistant"])
PARAMS = st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8))
MESSAGES = st.lists(st.builds(Message, ROLES, st.text()), min_size=1)
DRAW = st.tuples(st.integers(0, 9), st.integers(0, 9))
CHATS = st.builds(Request, st.text(), st.text(), MESSAGES.map(tuple), st.none(), PARAMS, DRAW)
PROMPTS = st.builds(Request, st.text(), st.text(), st.just(()), st.text(), PARAMS, DRAW)


@given(CHATS | PROMPTS)
def test_a_stored_request_is_the_same_request(request: Request) -> None:
    again = Request.from_body(json.loads(json.dumps(request.body())))
    assert again == request
    assert again.key == request.key
    assert path_and_body(again) == path_and_body(request)


@given(CHATS | PROMPTS)
def test_a_line_carries_the_body_of_a_direct_call(request: Request) -> None:
    written = batch_line(request.key, request)
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    line: Mapping[str, object] = json.loads(written)
    assert line == {
        "custom_id": request.key, "method": "POST", "url": batch_endpoint(request),
        "body": path_and_body(request)[1],
    }  # fmt: skip
