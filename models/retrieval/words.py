"""Requests, names and prose as the words that retrieval compares."""

from __future__ import annotations

import re

# What stands in quotes is data of the caller's, not what he wants to know.
_LITERAL = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_LOWER_UPPER = re.compile(r"([a-z0-9])([A-Z])")
_WORD = re.compile(r"[A-Za-z]+|\d+")
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
