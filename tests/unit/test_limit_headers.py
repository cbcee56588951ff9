"""Limits in headers, in the forms that servers use."""

from __future__ import annotations

import pytest

from models.adapters.backends.limit_headers import limits_from_headers, retry_after, seconds_until
from models.core.types import Limits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT", "date": "Thu, 01 Jan 1970 00:01:55 GMT"}, 5.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 99 Jan 1970 00:02:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0), ("1.5s", 1.5), ("20ms", 0.02), ("3h0m0s", 10_800.0), ("1d", 86_400.0), ("7", 7.0),
        ("1h2m3s", 3723.0), ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("1970-01-01T00:02:00Z", 20.0),
        ("1741305600", 1741305500.0), ("1741305600000", 1741305500.0),
        ("", None), (None, None), ("soon", None), ("-5", None), ("nan", None), ("9" * 400, None),
        ("9" * 400 + "s", None), ("5 parsecs", None), ("Xyz, 99 Abc 0000", None),
    ],
)  # fmt: skip
def test_a_wait_is_read_in_all_its_forms(text: str | None, seconds: float | None) -> None:
    assert seconds_until(text, now=100.0) == seconds


RESETS = [
    ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0),
    ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s"}, 360.0),
    ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "500"}, 1.0),
    ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}, 360.0),
    ({"x-ratelimit-reset": "20ms"}, 0.02),
    ({"x-ratelimit-reset-tokens": "6m0s", "retry-after": "2"}, 2.0),
    ({"x-ratelimit-reset-tokens": "soon"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "seconds"), RESETS)
def test_without_retry_after_the_resets_tell_the_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


@pytest.mark.parametrize(
    ("reset", "rpm"), [("3h0m0s", None), ("91s", None), ("60s", 50), ("1.2s", 50), ("", 50), ("soon", 50)]
)
def test_a_limit_of_a_day_is_no_limit_of_a_minute(reset: str, rpm: int | None) -> None:
    headers = {"x-ratelimit-limit-requests": "50", "x-ratelimit-reset-requests": reset}
    assert limits_from_headers(headers) == Limits(rpm, None)


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"}, Limits(500, 30_000)),
        ({"x-ratelimit-limit-tokens": "30000"}, Limits(None, 30_000)),
        ({"x-ratelimit-limit-requests": "none", "x-ratelimit-limit-tokens": "0"}, Limits()),
        ({}, None),
    ],
)
def test_limits_are_read_from_headers(headers: dict[str, str], limits: Limits | None) -> None:
    assert limits_from_headers(headers) == limits
