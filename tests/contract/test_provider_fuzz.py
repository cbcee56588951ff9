"""Replies that no API promises, made from the grammar of real ones: at the parsers, and through a worker."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.adapters.backends.completion_body import parse_completion
from models.adapters.backends.error_map import Address, map_status_error
from models.adapters.backends.limit_headers import limits_from_headers
from models.core.errors import ModelError
from tests.support import provider_grammar as grammar
from tests.support.provider_runs import provider_stack

ADDRESS = Address("some-model", "http://server/v1", "SOME_KEY", ("sk-secret-0123456789",))
SECONDS = 180.0
LONGEST_NAME = 32  # characters of a finish reason in the ledger


def assert_storable(*texts: str | None) -> None:
    """PostgreSQL stores neither null characters nor lone surrogates."""
    for text in texts:
        assert text is None or isinstance(text, str)
        (text or "").encode()
        assert "\0" not in (text or "")


@settings(max_examples=500)
@given(grammar.bodies)
def test_any_body_is_a_completion_or_an_error_of_the_model(body: bytes) -> None:
    try:
        completion = parse_completion(body, ADDRESS)
    except ModelError as error:
        assert_storable(str(error))
        return
    assert_storable(completion.text, completion.finish_reason, completion.refusal)
    assert len(completion.finish_reason) <= LONGEST_NAME
    usage = completion.usage
    for tokens in (usage.prompt, usage.cached, usage.completion):
        assert type(tokens) is int
        assert 0 <= tokens <= 10**9
    assert usage.cached <= usage.prompt


@settings(max_examples=500)
@given(st.sampled_from(grammar.ERROR_STATUSES), grammar.headers, grammar.bodies)
def test_any_error_has_its_place_in_the_error_map(status: int, headers: dict[str, str], body: bytes) -> None:
    error = map_status_error(status, headers, body, ADDRESS)
    assert isinstance(error, ModelError)
    assert_storable(str(error))
    assert str(error).isprintable()
    wait = getattr(error, "retry_after", None)
    assert wait is None or (math.isfinite(wait) and wait >= 0)


@settings(max_examples=500)
@given(grammar.headers)
def test_any_headers_tell_limits_or_none(headers: dict[str, str]) -> None:
    limits = limits_from_headers(headers)
    for limit in (limits.rpm, limits.tpm) if limits else ():
        assert limit is None or (type(limit) is int and 1 <= limit <= 10**12)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "count", [150, pytest.param(2000, marks=[pytest.mark.scale, pytest.mark.timeout(3600)])]
)
def test_every_unit_ends_whatever_is_replied(count: int, database_url: str, tmp_path: Path) -> None:
    rules = [
        {"rows": [number + 1], **rule} for number, rule in enumerate(grammar.drawn(grammar.rules(), count))
    ]
    case = {"name": "fuzz", "rules": rules, "train_rows": count}
    with provider_stack(tmp_path, [case], {"STARMILL_DATABASE_URL": database_url}) as stack:
        stack.start(case)
        seen = stack.seen("fuzz", SECONDS + count / 2)
        log = stack.worker_log + stack.home.path.with_name("feeder.log").read_text(errors="replace")
    replies = {f"ROW-{number + 1}": json.dumps(rule)[:300] for number, rule in enumerate(rules)}
    left = [replies[unit.row] for unit in seen.units if unit.state == "ready" and unit.row in replies]
    assert not left, f"{len(left)} rows are left, {seen.leased} of them held:\n" + "\n".join(left)
    assert seen.state == "finished", seen.message
    assert seen.leased == 0
    broken = [replies[unit.row] for unit in seen.units if unit.reason == "internal_error"]
    assert not broken, "\n".join(broken)
    assert "Traceback" not in log + seen.printed
    assert seen.dollars >= seen.provider["dollars"] - 1e-9
