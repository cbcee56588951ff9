"""Why an answer may be rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.types import Rejection

EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Reason:
    """`soft`: there is a text, though a bad one; hard: there is nothing to use. `says` is for people."""

    soft: bool
    says: str


REASONS: Mapping[str, Reason] = {
    "null": Reason(False, "the provider sent no content"),
    "empty": Reason(False, "the answer is blank"),
    "refusal": Reason(False, "the model or its content filter refused"),
    "html": Reason(False, "an HTML page came instead of an answer"),
    "malformed": Reason(False, "the server sent something that is no completion"),
    "missing": Reason(False, "the numbered reply leaves this item out"),
    "truncated": Reason(True, "the answer was cut off at the token limit"),
    "no_answer": Reason(True, 'the sentence asked for is missing ("The answer is", "This requires")'),
    "no_pairs": Reason(True, 'no "Request:" with its "Answer:" is in the reply'),
    "no_code": Reason(True, 'nothing follows "The answer is"'),
    "parroted": Reason(True, "the answer merely repeats the request"),
    "no_verdict": Reason(True, "the judge says neither that the answer is right nor that it is wrong"),
    "hint_leak": Reason(True, "the rationale mentions the hint it was given"),
}


def reject(reason: str, text: str, *, end: bool = False) -> Rejection:
    """A rejection whose detail shows the start of `text`, or its end: one printable line."""
    line = " ".join(text[-2 * EXCERPT :].split() if end else text[: 2 * EXCERPT].split())
    shown = line[-EXCERPT:] if end else line[:EXCERPT]
    return Rejection(
        reason, "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)
    )
