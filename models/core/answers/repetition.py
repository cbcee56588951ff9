"""Rationales that repeat: their request (parroting), or their own sentences (redundancy).

Words are compared by their first letters, so that "creates" is "creating". Of the paper's
rationales 200 were read and labelled by one person. Thresholds were set on those of questions with an even
number; the other 105 gave, with intervals of Wilson at 95 %:

    parroting     precision 20 of 21, 77 to 99 %    recall 20 of 28, 53 to 85 %
    redundancy    precision 13 of 19, 46 to 85 %    recall 13 of 19, 46 to 85 %
    hint leaks    precision  2 of  2, 34 to 100 %   recall  2 of  2, 34 to 100 %
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

from models.core.answers.extraction import answer_code, explanation, strip_marks
from models.core.programs import parse_python
from models.core.words import words

LETTERS = 5
# The share of an explanation's words, of at least this many, that may be new in a parroted one.
NEW_SHARE = 0.1
MIN_PARROTED = 3
# The share of the shorter sentence's pairs of words that the other has, too, from which they say the same.
RESTATED = 0.375
MIN_RESTATED = 6
MAX_SENTENCES = 20
PHRASE = 6
REPEATED_SHARE = 0.5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_QUOTED = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"[\w.]+(?:\(\))?")
_NAMED = re.compile(r"`([^`]*)`|([A-Za-z_][\w.]*)\s?\(")
_WITHOUT_CONTENT = {
    word[:LETTERS]
    for word in (
        "a", "an", "the", "to", "of", "in", "by", "with", "for", "on", "as", "from", "and", "or", "if",
        "then", "we", "you", "it", "this", "that", "which", "our", "is", "are", "be", "can", "could", "will",
        "would", "do", "so", "need", "use", "used", "using", "first", "finally", "also", "specifically",
        "each", "code", "snippet", "syntax", "achieve", "query", "request",
    )
}  # fmt: skip


def repeats_request(text: str, request: str) -> bool:
    """Tell if `text` has the same words as `request`, or as one of its two sentences."""
    tokens = _without_label(text)
    return bool(tokens) and any(tokens == _without_label(part) for part in _parts(request))


def is_parroted(text: str, request: str) -> bool:
    """Tell if the explanation in `text` has hardly a word that `request` has not, and names no function or
    variable that it does not. The code of the answer is no part of it, and code alone is no explanation."""
    explained = explanation(text)
    reasoning = _without_answer(explained, text)
    content = _content(reasoning)
    if len(content) < MIN_PARROTED:
        return repeats_request(explained, request)
    known = set(_stems(request))
    new = sum(stem not in known for stem in content)
    repeated = new <= NEW_SHARE * len(content) and _names(reasoning) <= known
    return repeated and parse_python(explained) is None


def is_redundant(text: str) -> bool:
    """Tell if a sentence of `text`, its answer aside, nearly says what another does, or if half of its
    explanation stands in phrases that it has used before."""
    explained = explanation(text)
    sentences = [" ".join(part.lower().split()) for part in _SENTENCE_END.split(explained)]
    if any(times > 1 and len(part.split()) > 3 for part, times in Counter(sentences).items()):
        return True
    tokens = re.findall(r"\w+|[^\w\s]", explained.lower())
    phrases = Counter(zip(*(tokens[start:] for start in range(PHRASE)), strict=False))
    if phrases.total() - len(phrases) > REPEATED_SHARE * phrases.total():
        return True
    return any(_restates(*pair) for pair in combinations(_sentence_pairs(text), 2))


def _without_label(text: str) -> list[str]:
    tokens: list[str] = re.findall(r"\w+", text.lower())
    return tokens[1:] if tokens[:1] in (["request"], ["query"]) else tokens


def _parts(request: str) -> tuple[str, str, str]:
    original, _, augmentation = request.partition("This requires")
    return request, original, augmentation


def _stems(text: str) -> list[str]:
    return [word[:LETTERS] for word in words(text)]


def _names(text: str) -> set[str]:
    """Return stems of the functions and variables in `text`, of dotted names the last part."""
    named = ((match[1] or match[2]).rstrip("(). ") for match in _NAMED.finditer(text) if match[1] or match[2])
    return {stem for name in named for stem in _stems(name.rpartition(".")[2])}


def _without_answer(part: str, text: str) -> str:
    """Return a part of `text` without the code of its answer. What follows the answer's sentence is none."""
    code = strip_marks(_SENTENCE_END.split(answer_code(text) or "", maxsplit=1)[0])
    return part.replace(code, " ") if code else part


def _content(text: str) -> list[str]:
    return [stem for stem in _stems(text) if stem not in _WITHOUT_CONTENT]


def _sentence_pairs(text: str) -> list[set[tuple[str, str]]]:
    """Return the pairs of neighbouring words with content of each sentence that is long enough."""
    text = _without_answer(text, text)
    text = _QUOTED.sub(lambda match: match[1] if _NAME.fullmatch(match[1]) else " ", text)
    return list(_pairs(_SENTENCE_END.split(text)[:MAX_SENTENCES]))


def _pairs(sentences: Sequence[str]) -> Iterator[set[tuple[str, str]]]:
    for sentence in sentences:
        stems = _content(sentence)
        if len(stems) >= MIN_RESTATED and "the answer is" not in sentence.lower():
            yield set(pairwise(stems))


def _restates(pairs: set[tuple[str, str]], others: set[tuple[str, str]]) -> bool:
    return len(pairs & others) >= RESTATED * min(len(pairs), len(others))
