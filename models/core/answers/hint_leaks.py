"""Hint leaks: rationales that speak of the answer they were given, as no reasoning from the request could.

In STaR (Zelikman et al., 2022) a rationale is written with the answer as a hint, and must not show it.
"""

from __future__ import annotations

import re

_APPENDED_HINT = re.compile(r"\s*\(hint: the answer is .*", re.IGNORECASE | re.DOTALL)
# The definite hint, or a label. Other hints are things: type hints, hints of a query or a widget.
_HINT = re.compile(
    r"""
      (?<!\w) \( \s? hint \s? :
    | (?: \A | [.!?;] \s ) \W{0,2} hint \W{0,2} : (?! \w )
    | \b as \s hinted \b (?! \s at )
    | \b hinted \s (?: answer | solution | code ) \b
    | \b (?: the | this | your | our | given | provided | supplied | above | per | from ) \s
      (?: (?: given | provided | supplied | same | above ) \s )?
      hint s? (?: 's )?
      (?! [\w(=\["`'-] | \. \w | \s? = | \s (?: at | text | label | parameter | argument | attribute
        | option | clause | comment | string | column | field | keyword | method | function | property
        | variable ) \b )
    | \b hints? \s (?: in | from | of ) \s (?: the | your ) \s (?: query | request | prompt | question ) \b
    | \b hints? \s (?: was | were | is | are ) \s (?: already \s )? (?: given | provided | supplied ) \b
      (?! \s (?: by | as | to ) \b )
    """,
    re.VERBOSE,
)
# Phrases that mean the given hint even where the request is about hints.
_GIVEN_HINT = re.compile(
    r"""
      (?<!\w) \( \s? hint \s? :
    | \b as \s hinted \b
    | \b (?: given | provided | supplied | above ) \s hints? \b
    | \b (?: per | from | by | following | using | given | with | considering | according \s to | based \s on
           | thanks \s to )
      \s (?: the | this | that | your ) \s hints? \b (?! \. \w | [(=] )
    | \b (?: the | this | your ) \s hint \s (?: that \s )? (?: is \s | was \s )?
      (?: given | provided | suggest | say | said | state | tell | told | indicate | mention )
    | \b hint \s in \s (?: the | your ) \s (?: query | request | prompt | question ) \b
    """,
    re.VERBOSE,
)

_ANSWER = r"(?: (?: correct | right | final | code ) \s )? (?: answer | solution ) s? \b"
_GIVEN = r"(?: provided | given | supplied | reference | expected | target | ground \s truth )"
_WERE = r"(?: was | were | am | are | have \s been )"
_HANDED = r"(?: provided | given | supplied | told | shown )"
_SHOWS = r"(?: shows | suggests | indicates | demonstrates | does | uses | says | states )"
# The answer as something that was there before the reasoning. Documentation is provided as well.
_GIVEN_ANSWER = re.compile(
    rf"""
    \b (?:
      {_GIVEN} \s {_ANSWER} (?! \s (?: format | sentence | form | type ) )
    | (?: the | this ) \s known \s {_ANSWER}
    | (?: answer | solution ) \s (?: that \s )? (?: is | was | has \s been ) \s (?: already \s )?
      (?: (?: provided | supplied ) \b (?! \s by ) | given \s (?: as | in | above | here | to | that ) \b
        | (?: known | stated | told ) \b (?! \s (?: by | as ) ) )
    | (?: answer | solution ) \s (?: (?: that | which ) \s )?
      (?: (?: i | we ) \s {_WERE} \s {_HANDED} | given \s (?: is | was | in ) )
    | (?: answer | solution ) ,? \s
      (?: (?: as \s )? (?: stated | specified | shown | found | mentioned ) \s )?
      (?: in | from ) \s the \s (?: query | prompt | request | question | instructions ) \b
    | (?: i | we ) \s {_WERE} \s (?: already \s )? {_HANDED} \s (?: with \s )? (?: that \s )? the \s {_ANSWER}
    | (?: know | knowing | given | told ) \s (?: that \s )? the \s {_ANSWER}
      (?! \s (?: by | that \s can ) )
    | (?: query | prompt | request | question | problem ) \s (?: already \s | itself \s )?
      (?: gives | provides | states | contains | includes | tells \s us | says ) \s
      (?: that \s )? the \s {_ANSWER}
    | (?: based \s on | judging \s (?: by | from ) | looking \s at | according \s to | guided \s by
        | (?: inferred | deduced | derived ) \s from | consistent \s with | justify | justifies )
      \s the \s {_ANSWER} (?! \s (?: to | of | for ) \b )
    | (?: work | reason ) (?: s | ed | ing )? \s back (?: wards? )? \s from \b
    | revers (?: e | ing ) [ -] engineer \w* \s (?: from \s )? (?: the | this ) \s {_ANSWER}
    )
    """,
    re.VERBOSE,
)
# The same of code and outputs, which are provided as well: only phrases of an answer that is shown.
_GIVEN_CODE = re.compile(
    rf"""
    \b (?:
      expected \s (?: output | result | code | value ) \s (?: is | was | must \s be | should \s be ) \b
    | (?: as | like ) \s (?: is \s )? (?: the \s )? {_GIVEN} \s
      (?: code | snippet | output | command | query ) (?: / \w+ )? \s {_SHOWS}
    | the \s {_GIVEN} \s (?: code | snippet | command ) (?: / \w+ )? \s (?: {_SHOWS} | calls )
    | (?: shown | seen | indicated | suggested | demonstrated ) \s (?: by | in ) \s the \s
      {_GIVEN} \s (?: code | snippet | output | command ) \b (?! \s documentation )
    )
    """,
    re.VERBOSE,
)
_THING = re.compile(r"answer|solution|output|result|code|value|snippet|command")
# Each phrase above has one of these, and few rationales have any: looking for them takes microseconds.
_SIGNS = (
    "given", "provided", "supplied", "reference", "expected", "target", "ground truth", "know", "told",
    "stated", "shown", "query", "prompt", "request", "question", "problem", "the instructions",
    "based on the", "judging", "looking at the", "according to the", "guided by", "inferred",
    "deduced", "derived", "consistent with", "justif", "back from", "backward", "engineer",
)  # fmt: skip


def mentions_hint(text: str, request: str = "") -> bool:
    """Tell if `text` speaks of the hint or the answer that it was given: "as the hint says", "based on the
    provided answer", "the expected output is", "working backwards from".

    A request may be about hints, answers or outputs itself, the appended hint aside; then only phrases count
    that can only mean the given hint. Code and other hints never count: `hint=None`, type hints.
    """
    text = _one_line(text)
    if any(sign in text for sign in _SIGNS) and any(
        _speaks_of(pattern, text, request) for pattern in (_GIVEN_ANSWER, _GIVEN_CODE)
    ):
        return True
    if "hint" not in text:
        return False
    request = _one_line(without_hint(request))
    if _GIVEN_HINT.search(text) and not _GIVEN_HINT.search(request):
        return True
    return bool(_HINT.search(text)) and "hint" not in request


def without_hint(request: str) -> str:
    """Return `request` without the hint that rationalization appends."""
    return _APPENDED_HINT.sub("", request)


def _one_line(text: str) -> str:
    return " ".join(text.lower().split())


def _speaks_of(pattern: re.Pattern[str], text: str, request: str) -> bool:
    """Tell if a phrase is in `text`, and neither it nor its thing, such as an answer, in `request`."""
    match = pattern.search(text)
    if match is None:
        return False
    request = _one_line(without_hint(request))
    thing = _THING.search(match[0])
    return not pattern.search(request) and (thing is None or thing[0] not in request)
