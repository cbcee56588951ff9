"""A request that is too long for a model, in the words of servers that have no code for it."""

from __future__ import annotations

import json

import pytest

from models.adapters.backends.error_map import Address, map_status_error
from models.core.errors import ContextOverflow

ADDRESS = Address("some-model", "http://server/v1", "SOME_KEY")
TOO_LONG = [
    (400, "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens."),
    (400, "the request exceeds the available context size. try increasing the context size"),
    (500, "the request exceeds the available context size"),
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"),
    (400, "the input length exceeds the context length"),
    (400, "The decoder prompt (length 3000) is longer than the maximum model length of 2048."),
    (400, "prompt is too long: 250000 tokens > 200000 maximum"),
    (400, "The input token count (40000) exceeds the maximum number of tokens allowed (32768)."),
    (429, "Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 9000"),
    (413, "Request Entity Too Large"),
]


@pytest.mark.parametrize(("status", "message"), TOO_LONG)
def test_a_request_that_is_too_long_is_told_by_its_wording(status: int, message: str) -> None:
    for body in (json.dumps({"error": {"message": message}}), json.dumps({"error": message}), message):
        assert type(map_status_error(status, {}, body, ADDRESS)) is ContextOverflow
