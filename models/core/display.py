"""Texts for people: amounts of money in words, and control characters as escapes that can be read."""

from __future__ import annotations

import re
from typing import Any


def usd(nano_usd: int) -> str:
    """Return dollars with four digits, or as many as a small amount needs: `$0.0123`, `$0.00042`."""
    amount = nano_usd / 1e9
    if not nano_usd or abs(amount) >= 0.01:
        return f"${amount:,.4f}"
    digits = f"{amount:.9f}".rstrip("0")
    leading = len(digits.partition(".")[2]) - len(digits.partition(".")[2].lstrip("0"))
    return f"${amount:.{max(4, min(9, leading + 2))}f}"


def budget_usd(nano_usd: int) -> str:
    """Return a limit exactly, with cents: `$5.00`, `$0.0004`."""
    whole, _, part = f"{nano_usd / 1e9:,.9f}".partition(".")
    return f"${whole}.{part.rstrip('0'):0<2}"


# Controls but newline and tab, marks of the writing direction, line separators, half surrogates, tags.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Return `text` with such characters as escapes: `\x1b`, `\u202e`."""
    return _HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def visible_values(value: Any) -> Any:
    """Return a JSON value, each of whose texts is `visible`."""
    if isinstance(value, dict):
        return {name: visible_values(each) for name, each in value.items()}
    if isinstance(value, list):
        return [visible_values(each) for each in value]
    return visible(value) if isinstance(value, str) else value


def visible_json(text: str) -> str:
    r"""Return a JSON text with the same meaning, whose strings have such characters as `\u001b`."""
    return _HIDDEN.sub(lambda match: _json_escape(ord(match[0])), text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
