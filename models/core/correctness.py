"""Forms in which answers are compared: the same text for what means the same. Raises nothing.

Whether a rationale ends in the right answer, and whether it gives away that it was told.

Self-consistency (Wang et al., 2022): of several answers to one question, the one given most often.
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

_FLAGS = re.compile(r"-[A-Za-z]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
# What is between double quotes is not the same as between single ones where it is expanded.
_EXPANDED = re.compile(r"[$`]")


def shell_form(command: str) -> str:
    """Words and operators of a shell command, less quotes that change nothing; short flags that stand
    together one by one and in order (`ls -la`, `ls -a -l`)."""
    words = _words(command)
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
    """Words in lower case, less punctuation and articles, as SQuAD compares them (Rajpurkar et al., 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _words(command: str) -> list[str] | None:
    """None where quotes are not closed."""
    lexer = shlex.shlex(command.strip().removeprefix("$ "), posix=not _EXPANDED.search(command),
                        punctuation_chars=True)  # fmt: skip
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return None


Rule = Literal["paper", "strict", "tree"]
RULES: tuple[Rule, ...] = get_args(Rule)
# `module` asks the task folder's task.py, `model` a judge model; both are the worker's to ask.
Correctness = Literal[Rule, "shell", "text", "module", "model"]


def is_correct(rule: Correctness, rationale: str, reference: str) -> bool:
    """Whether `rationale` ends in `reference`, the answer that was asked for. Raises nothing.

    `paper`: less trailing full stops, colons and backquotes it ends with the reference.
    `strict`: what follows its last "the answer is" equals the reference, both bare.
    `tree`: also where they are equal but for white space, or parse to the same syntax tree.
    `shell`: also where they are the same command but for quotes, white space and the form of flags.
    `text`: also where they are the same words but for case, punctuation and articles.
    """
    if rule == "paper":
        return bool(strip_marks(reference)) and rationale.rstrip(".:`").endswith(reference)
    answer = answer_code(rationale)
    return answer is not None and same_answer(rule, answer, reference)


def same_answer(rule: Correctness, answer: str, reference: str) -> bool:
    """Whether an answer without its rationale is the reference, by the same rules; `paper` takes both as they
    stand. Raises nothing."""
    if rule == "paper":
        return answer == reference
    answer, reference = strip_marks(answer), strip_marks(reference)
    if not reference:
        return False
    if answer == reference or (rule == "tree" and answer.split() == reference.split()):
        return True
    form = FORMS.get(rule)
    return form is not None and form(answer) == form(reference)


def mentions_hint(text: str, request: str = "") -> bool:
    """Whether `text` speaks of the hint it was given, such as "as the hint says".

    Where the request speaks of hints itself, as in "show a hint" (the appended hint aside), only
    phrases that can mean nothing but the given hint count. Code never counts: `type_hint`, `hint=None`.
    """
    if "hint" not in text.lower():
        return False
    text, request = " ".join(text.split()), " ".join(without_hint(request).split())
    if _GIVEN_HINT.search(text) and not _GIVEN_HINT.search(request):
        return True
    return bool(_HINT.search(text)) and "hint" not in request.lower()


def without_hint(request: str) -> str:
    """`request` less the hint that rationalization appends to it."""
    return _APPENDED_HINT.sub("", request)


def form_of(rule: str) -> Callable[[str], str]:
    """What is the same of answers that mean the same, in the form that `rule` compares; for a rule that
    compares none, what Python makes of them."""
    return FORMS.get(rule, normal_form)


# What is the same of answers that a rule takes for equal.
FORMS: Mapping[str, Callable[[str], str]] = {
    "tree": normal_form,
    "shell": shell_form,
    "text": text_form,
}
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


@dataclass(frozen=True, slots=True)
class Vote:
    """`place` is the first answer of the winning group. Of `samples` answers `winner` agree with it, and
    `groups` different ones were given."""

    place: int
    samples: int
    winner: int
    groups: int


def majority(codes: Sequence[str], form_of: Callable[[str], str] = normal_form) -> Vote:
    """The most frequent code; of equally frequent ones that which was drawn first.

    Codes are the same where `form_of` gives the same: as it stands, where their syntax trees are, or, where
    Python cannot parse them, where they differ in white space only. Blank ones abstain, unless all are.
    Raises ValueError without codes.
    """
    groups: dict[str, list[int]] = {}
    for place, code in enumerate(codes):
        groups.setdefault(form_of(code), []).append(place)
    if not groups:
        raise ValueError("no answers to vote on")
    said = [places for form, places in groups.items() if form] or list(groups.values())
    winner = max(said, key=len)
    return Vote(winner[0], len(codes), len(winner), len(said))
