"""Texts as the words that duplicates and overlaps are told by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

Words = tuple[str, ...]
_WORD = re.compile(r"\w+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def words(text: str) -> Words:
    """Runs of letters, digits and underscores, without regard to case."""
    return tuple(_WORD.findall(text.casefold()))


def ngrams(said: Sequence[str], n: int) -> list[Words]:
    """All runs of `n` words, in order; none where there are fewer words."""
    return [tuple(said[start : start + n]) for start in range(len(said) - n + 1)]


def share_in_script(text: str, script: str) -> float:
    """The share of the letters of `text` that are of a Unicode script, from 0 to 1; 1 without letters.

    Replacement characters and controls other than white space count as letters of no script.
    """
    if script == "latin" and text.isascii() and not _CONTROL.search(text):
        return 1.0
    scripts = [found for char in text if (found := _script(char)) is not None]
    return sum(found == script for found in scripts) / len(scripts) if scripts else 1.0


@lru_cache(maxsize=4096)
def _script(char: str) -> str | None:
    """None for what belongs to all: digits, punctuation, symbols, white space."""
    if char == _REPLACEMENT or (unicodedata.category(char) in {"Cc", "Cn", "Co"} and not char.isspace()):
        return ""
    if not char.isalpha():
        return None
    # Python has no table of scripts; the name of a letter begins with the name of its script.
    return unicodedata.name(char, "").partition(" ")[0].lower()
