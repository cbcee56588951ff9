"""Requests, names and prose as the words that retrieval compares."""

from __future__ import annotations

import re

# What stands in quotes is data of the caller's, not what he wants to know.
_LITERAL = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_LOWER_UPPER = re.compile(r"([a-z0-9])([A-Z])")
_WORD = re.compile(r"[A-Za-z]+|\d+")
_SUFFIXES = ("ing", "ies", "es", "ed", "s")
_LEAST_STEM = 3
_CLAUSE = re.compile(r",\s*(?:and\s+)?|;\s*|\.\s+|\s+and\s+(?=\w+ing\b)")
_REQUIRES = re.compile(r"^\s*this requires\s+", re.IGNORECASE)


def group_of(question_id: str) -> str:
    """What paraphrases of one question share: its id up to its last `-`."""
    return question_id.rpartition("-")[0] or question_id


def question_of(question_id: str, row: int) -> str:
    """The same; empty where the dataset names no questions and the row's number stands in for them."""
    return "" if question_id == str(row) else group_of(question_id)


def without_literals(request: str) -> str:
    """`request` less quoted literals and variables; all of it where nothing else is left."""
    return " ".join(_LITERAL.sub(" ", request).split()) or request


def terms(text: str) -> list[str]:
    """Lower-case words less their endings; `camelCase`, `snake_case` and `dotted.names` are taken apart."""
    return [_stem(word.lower()) for word in _WORD.findall(_LOWER_UPPER.sub(r"\1 \2", text))]


def steps(augmentation: str) -> list[str]:
    """The clauses of "This requires doing this, doing that, and ..."."""
    body = _REQUIRES.sub("", augmentation).strip().rstrip(".")
    return [clause for part in _CLAUSE.split(body) if (clause := part.strip())]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _LEAST_STEM:
            return word[: -len(suffix)]
    return word
