"""Read from headers how much a server allows a minute, and how long to wait."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from models.core.types import Limits

KINDS = ("requests", "tokens")
# A limit that resets later than this is one of an hour or a day.
MAX_MINUTE_SECONDS = 90.0
MAX_LIMIT = 10**9
# Numbers above these are times since the epoch, in seconds or milliseconds.
EPOCH_SECONDS, EPOCH_MILLISECONDS = 1e9, 1e11
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)


def limits_from_headers(headers: Mapping[str, str], now: float = 0.0) -> Limits | None:
    """Return the rate limits per minute from `x-ratelimit-limit-*`; None without such headers.

    A limit whose `x-ratelimit-reset-*` is not within about a minute is one of a day: it is left out.
    """
    reported = {kind: headers.get(f"x-ratelimit-limit-{kind}") for kind in KINDS}
    if all(value is None for value in reported.values()):
        return None
    return Limits(
        *(_per_minute(reported[kind], headers.get(f"x-ratelimit-reset-{kind}"), now) for kind in KINDS)
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait: from Retry-After or OpenAI's `retry-after-ms`, else from the resets.

    Of the limits with a reset, those count that are used up; if none says so, the longest reset counts.
    `now` is in seconds since the epoch; the server's own `Date` is preferred, since clocks differ.
    Return None if the headers are missing or unreadable.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    now = _date(headers.get("date")) or now
    if (seconds := seconds_until(headers.get("retry-after"), now)) is not None:
        return seconds
    waits = {
        suffix: seconds
        for suffix in ("-requests", "-tokens", "")
        if (seconds := seconds_until(headers.get(f"x-ratelimit-reset{suffix}"), now)) is not None
    }
    used_up = [waits[each] for each in waits if _number(headers.get(f"x-ratelimit-remaining{each}")) == 0]
    return max(used_up or waits.values(), default=None)


def seconds_until(text: str | None, now: float) -> float | None:
    """Return the seconds in `1.5`, `6m0s` or `20ms`, or those until a date or a time since the epoch."""
    text = (text or "").strip()
    if (number := _number(text)) is not None:
        until = number / 1000 if number > EPOCH_MILLISECONDS else number
        return max(0.0, until - now) if number > EPOCH_SECONDS else number
    if _DURATION.fullmatch(text):
        total = sum(float(amount) * UNITS[unit] for amount, unit in re.findall(_PART, text))
        return total if math.isfinite(total) else None
    until_date = _date(text)
    return None if until_date is None else max(0.0, until_date - now)


def _per_minute(limit: str | None, reset: str | None, now: float) -> int | None:
    number = _number(limit)
    if not number or number < 1 or (seconds_until(reset, now) or 0.0) > MAX_MINUTE_SECONDS:
        return None
    return min(int(number), MAX_LIMIT)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str | None) -> float | None:
    """Return the time of an HTTP date or one in ISO 8601, in seconds since the epoch."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return parse(text or "").timestamp()
        except (ValueError, OverflowError, IndexError, TypeError):
            continue
    return None
