"""Texts as words: the words that retrieval compares, and those that tell duplicates and overlaps."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# What stands in quotes is data of the caller's, not what he wants to know.
_LITERAL = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_LOWER_UPPER = re.compile(r"([a-z0-9])([A-Z])")
_TERM = re.compile(r"[A-Za-z]+|\d+")
_SUFFIXES = ("ing", "ies", "es", "ed", "s")
_LEAST_STEM = 3
# As in CoNaLa and ODEX: the number of a question, and that of its phrasing.
_PHRASING = re.compile(r"\d+-\d+", re.ASCII)
_CLAUSE = re.compile(r",\s*(?:and\s+)?|;\s*|\.\s+|\s+and\s+(?=\w+ing\b)")
_REQUIRES = re.compile(r"^\s*this requires\s+", re.IGNORECASE)


def group_of(question_id: str) -> str:
    """What phrasings of one question share: `41067960-46` is one of question `41067960`. Of ids of any other
    form nothing is known: each is a question of its own."""
    return question_id.partition("-")[0] if _PHRASING.fullmatch(question_id) else question_id


def question_of(question_id: str, row: int) -> str:
    """The same; empty where the dataset names no questions and the row's number stands in for them."""
    return "" if question_id == str(row) else group_of(question_id)


def without_literals(request: str) -> str:
    """`request` less quoted literals and variables; all of it where nothing else is left."""
    return " ".join(_LITERAL.sub(" ", request).split()) or request


def terms(text: str) -> list[str]:
    """Lower-case words less their endings; `camelCase`, `snake_case` and `dotted.names` are taken apart."""
    return [_stem(word.lower()) for word in _TERM.findall(_LOWER_UPPER.sub(r"\1 \2", text))]


def steps(augmentation: str) -> list[str]:
    """The clauses of "This requires doing this, doing that, and ..."."""
    body = _REQUIRES.sub("", augmentation).strip().rstrip(".")
    return [clause for part in _CLAUSE.split(body) if (clause := part.strip())]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _LEAST_STEM:
            return word[: -len(suffix)]
    return word


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
