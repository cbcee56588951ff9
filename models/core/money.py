"""Amounts of money in words."""

from __future__ import annotations


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
