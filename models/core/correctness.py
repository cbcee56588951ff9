"""The rules by which an answer is right, hint leaks, and the majority vote. Nothing here raises but
`majority`.

A rule compares normal forms: texts that are equal for answers that mean the same.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from models.core.answers.extraction import answer_code, strip_marks
from models.core.programs import normal_form

Rule = Literal["paper", "strict", "tree"]
RULES: tuple[Rule, ...] = get_args(Rule)
# Workers ask the task folder's task.py for `module`, and a judge model for `model`.
Correctness = Literal[Rule, "shell", "text", "module", "model"]
_FLAGS = re.compile(r"-[A-Za-z]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
# Double quotes differ from single ones in a command that expands something.
_EXPANDED = re.compile(r"[$`]")


def is_correct(rule: Correctness, rationale: str, reference: str) -> bool:
    """Tell if `rationale` ends in the answer `reference`.

    `paper`: without trailing full stops, colons and backquotes it ends with the reference.
    `strict`: the text after its last "the answer is" equals the reference, both without marks around them.
    `tree`: or they are equal but for white space, or parse to the same syntax tree.
    `shell`: or they are the same command but for quotes, white space and the form of flags.
    `text`: or they are the same words but for case, punctuation and articles.
    """
    if rule == "paper":
        return bool(strip_marks(reference)) and rationale.rstrip(".:`").endswith(reference)
    answer = answer_code(rationale)
    return answer is not None and same_answer(rule, answer, reference)


def same_answer(rule: Correctness, answer: str, reference: str) -> bool:
    """Tell if an answer without its rationale is the reference, by the same rules; `paper` compares raw
    texts."""
    if rule == "paper":
        return answer == reference
    answer, reference = strip_marks(answer), strip_marks(reference)
    if not reference:
        return False
    if answer == reference or (rule == "tree" and answer.split() == reference.split()):
        return True
    form = NORMAL_FORMS.get(rule)
    return form is not None and form(answer) == form(reference)


def shell_form(command: str) -> str:
    """Return the words and operators of a shell command, without quotes that change nothing. Short flags are
    split and sorted, so that `ls -la` equals `ls -a -l`."""
    words = _shell_words(command)
    if words is None:
        return " ".join(command.split())
    form: list[str] = []
    flags: set[str] = set()
    for word in [*words, ""]:
        if _FLAGS.fullmatch(word):
            flags.update(word[1:])
            continue
        form += [f"-{letter}" for letter in sorted(flags)]
        flags.clear()
        form.append(word)
    return "\0".join(form[:-1])


def text_form(text: str) -> str:
    """Return words in lower case without punctuation and articles, as in SQuAD (Rajpurkar et al., 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


NORMAL_FORMS: Mapping[str, Callable[[str], str]] = {
    "tree": normal_form,
    "shell": shell_form,
    "text": text_form,
}


def form_of(rule: str) -> Callable[[str], str]:
    """Return the normal form that `rule` compares, or that of Python code for a rule without one."""
    return NORMAL_FORMS.get(rule, normal_form)


def _shell_words(command: str) -> list[str] | None:
    """Return None if quotes are not closed."""
    lexer = shlex.shlex(command.strip().removeprefix("$ "), posix=not _EXPANDED.search(command),
                        punctuation_chars=True)  # fmt: skip
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return None


_APPENDED_HINT = re.compile(r"\s*\(hint: the answer is .*", re.IGNORECASE | re.DOTALL)
# The word itself: no identifier, string, attribute, argument or call, and no type, size or length hint.
_HINT = re.compile(
    r"""
    (?<! [\w.'"`\[(=-] ) (?<! type\s ) (?<! size\s ) (?<! length\s )
    hint (?:s|ed)?
    (?! [\w(=\["`] | '(?!s\b) | \.\w | \s= )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_GIVEN_HINT = re.compile(
    r"""
      (?<!\w) \( \s? hint \s? :
    | \b as \s hinted \b
    | \b (?:given|provided|supplied|above) \s hints? \b
    | \b (?:per|from|by|following|using|given|with|considering|according\sto|based\son|thanks\sto)
      \s (?:the|this|that|your) \s hints? \b (?! \.\w | [(=] )
    | \b (?:the|this|your) \s hint \s (?:that \s)? (?:is \s | was \s)?
      (?:given|provided|suggest|say|said|state|tell|told|indicate|mention)
    | \b hint \s in \s (?:the|your) \s (?:query|request|prompt|question) \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def mentions_hint(text: str, request: str = "") -> bool:
    """Tell if `text` mentions the hint it was given, such as "as the hint says".

    If the request itself mentions hints, as in "show a hint" (the appended hint aside), only phrases count
    that can only mean the given hint. Code never counts: `type_hint`, `hint=None`.
    """
    if "hint" not in text.lower():
        return False
    text, request = " ".join(text.split()), " ".join(without_hint(request).split())
    if _GIVEN_HINT.search(text) and not _GIVEN_HINT.search(request):
        return True
    return bool(_HINT.search(text)) and "hint" not in request.lower()


def without_hint(request: str) -> str:
    """Return `request` without the hint that rationalization appends."""
    return _APPENDED_HINT.sub("", request)


@dataclass(frozen=True, slots=True)
class Vote:
    """A majority vote. `index` is that of the winning group's first answer, `winner` the size of the group.
    `groups` different ones were among `samples` answers."""

    index: int
    samples: int
    winner: int
    groups: int


def majority(codes: Sequence[str], form_of: Callable[[str], str] = normal_form) -> Vote:
    """Elect the most frequent code (self-consistency, Wang et al., 2022); of equally frequent ones the first.

    Codes with the same `form_of` agree: by default the same syntax tree or, if Python cannot parse them, the
    same words. Blank ones abstain unless all are blank. Raise ValueError without codes.
    """
    groups: dict[str, list[int]] = {}
    for index, code in enumerate(codes):
        groups.setdefault(form_of(code), []).append(index)
    if not groups:
        raise ValueError("no answers to vote on")
    votes = [indices for form, indices in groups.items() if form] or list(groups.values())
    winner = max(votes, key=len)
    return Vote(winner[0], len(codes), len(winner), len(votes))
