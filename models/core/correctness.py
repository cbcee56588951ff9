"""The rules by which an answer is right, and the majority vote. Nothing here raises but
`majority`.

A rule compares normal forms: texts that are equal for answers that mean the same.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from models.core.answers.extraction import answer_code, strip_marks
from models.core.programs import normal_form
from models.core.shell import shell_form

Rule = Literal["paper", "strict", "tree"]
RULES: tuple[Rule, ...] = get_args(Rule)
# Workers ask the task folder's task.py for `module`, and a judge model for `model`.
Correctness = Literal[Rule, "shell", "text", "number", "module", "model"]
# When an answer is right by each rule, in plain words.
RULE_MEANINGS: Mapping[str, str] = {
    "strict": "it is the reference, less blanks, colons, backquotes and full stops around both",
    "paper": "the whole text, less trailing marks, ends with the reference",
    "tree": "as by `strict`, or both are the same but for white space, or parse to the same syntax tree",
    "shell": "as by `strict`, but for white space, quotes that change nothing, and in known programs form "
    "and order of flags; placeholders such as `{{file}}` are all equal",
    "text": "as by `strict`, but for case, punctuation and articles",
    "number": "both hold the same number, as `42`, `$42.00` and `40 + 2 = 42 apples`; of several, those "
    "after the last `=` or `####`; without a number it compares words",
    "module": "`correct` in the task folder's `task.py` says so",
    "model": "the model of `judge.model` says so; it is not asked where rule `text` is met",
    "execution": "the tests of its row pass",
}
ARTICLES = ("a", "an", "the")
_ARTICLES = re.compile(rf"\b(?:{'|'.join(ARTICLES)})\b")
_TOKEN = re.compile(
    r"""
    (?P<number>
      (?: (?<! [\w.)] ) -[ ]? )?  # after a word or a number it is no sign
      (?: (?: [0-9]{1,3} (?: ,[0-9]{3} )+ (?! [0-9] ) | [0-9]+ ) (?: \.[0-9]+ )? | \.[0-9]+ )
      (?: [ ]?/[ ]?[0-9]+ )?
    )
    | [^\W\d_]+
    """,
    re.VERBOSE,
)
_FRACTION = re.compile(r"\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_DIGIT = re.compile(r"[0-9]")
MAX_DIGITS = 100
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def is_correct(rule: Correctness, rationale: str, reference: str) -> bool:
    """Tell if `rationale` ends in the answer `reference`.

    `paper`: without trailing full stops, colons and backquotes it ends with the reference.
    `strict`: the text after its last "the answer is" equals the reference, both without marks around them.
    `tree`: or they are equal but for white space, or parse to the same syntax tree.
    `shell`: or they are the same command but for white space, quotes that change nothing, and for known
    programs form and order of flags.
    `text`: or they are the same words but for case, punctuation and articles.
    `number`: or they hold the same number, whatever stands around it.
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


def text_form(text: str) -> str:
    """Return words in lower case without punctuation and articles, as in SQuAD (Rajpurkar et al., 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def number_form(text: str) -> str:
    """Return the one number in the text as a fraction in lowest terms, so that `42`, `$42.00` and
    `40 + 2 = 42 apples` are equal, and `0.5` and `1/2`.

    If numbers follow the last `=` or `####`, only these count. Without a number, or with several, return the
    words and numbers.
    """
    text = _FRACTION.sub(r"\1/\2", text.replace("\u2212", "-").lower())
    tail = re.split(r"=|####", text)[-1]
    tokens = [_token(match) for match in _TOKEN.finditer(tail if _DIGIT.search(tail) else text)]
    numbers = [token for token in tokens if _DIGIT.search(token)]
    return numbers[0] if len(numbers) == 1 else " ".join(token for token in tokens if token not in ARTICLES)


def _token(match: re.Match[str]) -> str:
    """Return a word as it is, and a number that is not too long to compute with in lowest terms."""
    text = match[0].replace(",", "").replace(" ", "")
    if match["number"] and len(text) <= MAX_DIGITS:
        try:
            return str(Fraction(*map(Fraction, text.split("/"))))
        except ZeroDivisionError:
            return text
    return text


NORMAL_FORMS: Mapping[str, Callable[[str], str]] = {
    "tree": normal_form,
    "shell": shell_form,
    "text": text_form,
    "number": number_form,
}


def form_of(rule: str) -> Callable[[str], str]:
    """Return the normal form that `rule` compares, or that of Python code for a rule without one."""
    return NORMAL_FORMS.get(rule, normal_form)


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
