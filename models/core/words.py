"""Words of texts, for retrieval and for finding duplicates and overlaps."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# Quoted text is data of the caller, not part of the question.
_LITERAL = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_LOWER_UPPER = re.compile(r"([a-z0-9])([A-Z])")
_TERM = re.compile(r"[A-Za-z]+|\d+")
_SUFFIXES = ("ing", "ies", "es", "ed", "s")
_MIN_STEM = 3
# The number of a question and that of its phrasing, as in CoNaLa and ODEX.
_PHRASING = re.compile(r"\d+-\d+", re.ASCII)
_CLAUSE = re.compile(r",\s*(?:and\s+)?|;\s*|\.\s+|\s+and\s+(?=\w+ing\b)")
_REQUIRES = re.compile(r"^\s*this requires\s+", re.IGNORECASE)


def question_group(question_id: str) -> str:
    """Return the part of the id that all phrasings of a question share: `41067960` of `41067960-46`. An id of
    another form is a question of its own."""
    return question_id.partition("-")[0] if _PHRASING.fullmatch(question_id) else question_id


def named_question(question_id: str, row: int) -> str:
    """Return the group of a question id, empty if the id is only the row's number."""
    return "" if question_id == str(row) else question_group(question_id)


def without_literals(request: str) -> str:
    """Return `request` without quoted literals and variables, or all of it if nothing else is left."""
    return " ".join(_LITERAL.sub(" ", request).split()) or request


def terms(text: str) -> list[str]:
    """Return lower-case words without their endings. `camelCase`, `snake_case` and `dotted.names` are
    split."""
    return [_stem(word.lower()) for word in _TERM.findall(_LOWER_UPPER.sub(r"\1 \2", text))]


def augmentation_steps(augmentation: str) -> list[str]:
    """Return the clauses of "This requires doing this, doing that, and ..."."""
    body = _REQUIRES.sub("", augmentation).strip().rstrip(".")
    return [clause for part in _CLAUSE.split(body) if (clause := part.strip())]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
            return word[: -len(suffix)]
    return word


Words = tuple[str, ...]
_WORD = re.compile(r"\w+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def words(text: str) -> Words:
    """Return runs of letters, digits and underscores in lower case."""
    return tuple(_WORD.findall(text.casefold()))


def ngrams(tokens: Sequence[str], n: int) -> list[Words]:
    """Return all runs of `n` words in order; none if there are fewer words."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def share_in_script(text: str, script: str) -> float:
    """Return the share of letters of `text` that belong to a Unicode script, from 0 to 1; 1 without letters.

    Replacement characters and controls other than white space count as letters of no script.
    """
    if script == "latin" and text.isascii() and not _CONTROL.search(text):
        return 1.0
    scripts = [name for char in text if (name := _script(char)) is not None]
    return scripts.count(script) / len(scripts) if scripts else 1.0


@lru_cache(maxsize=4096)
def _script(char: str) -> str | None:
    """Return None for characters of all scripts: digits, punctuation, symbols, white space."""
    if char == _REPLACEMENT or (unicodedata.category(char) in {"Cc", "Cn", "Co"} and not char.isspace()):
        return ""
    if not char.isalpha():
        return None
    # Python has no table of scripts, but the name of a letter begins with its script.
    return unicodedata.name(char, "").partition(" ")[0].lower()
