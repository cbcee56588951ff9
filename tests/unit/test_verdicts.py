"""Which texts of judge models are verdicts."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.core.answers.verdicts import parse_verdict
from models.core.types import Completion, Rejection, Usage

RIGHT = [
    '{"correct": true}',
    '{"reason": "not the words, but the sense is the same", "correct": true}',
    '```json\n{"correct": true}\n```',
    'I compare them.\n```\n{\n  "verdict": "right"\n}\n```',
    "Verdict: right",
    "**Verdict:** correct.",
    "The verdict is: **correct**",
    "Correct: Yes",
    "It does not use the same words.\nVerdict: right",
    "The answers agree. Verdict: correct",
    "Correct.",
    "**right**",
    "yes",
    "Both list the files.\n\nCorrect",
    "The given answer is right.",
]
WRONG = [
    '{"correct": false}',
    '{"Correct": "no", "why": "it is right in parts"}',
    '```\n{"correct": false, "reason": "right file, wrong flag"}\n```',
    'Let me see.\n{"verdict": "Wrong"}',
    "Correct: No",
    "Correct: false",
    "Verdict: **Wrong**",
    "verdict is: incorrect.",
    "It is not the same. Verdict: wrong",
    "Incorrect.",
    "No",
    "It is right in most parts.\n\n*wrong*",
    "The answer is wrong.",
]
NONE = [
    "Verdict: partially correct",
    "far from correct",
    "not correct",
    "not correct?",
    "It is right, so it is correct.",
    "The given answer is not correct",
    "Is it correct? No.",
    "Is it wrong?\nYes",
    "This is not\ncorrect",
    "This is not\n\ncorrect",
    "It would be wrong to call it right.\ncorrect",
    "right or wrong",
    "Verdict: right or wrong",
    "Verdict: not quite correct",
    "Verdict: correct\nVerdict: wrong",
    "Verdict: partially correct\nCorrect: Yes",
    "Verdict: correct\nNo, wait.",
    "The wrong one? No. Verdict: correct.",
    "Correct: Yes, in parts",
    "Correct: 1",
    "1",
    "true, but late",
    '{"correct": 1}',
    '{"correct": null}',
    '{"correct": "partially"}',
    '{"correct": true, "correct": false}',
    '{"correct": true, "verdict": "wrong"}',
    '{"correct": true} in parts',
    '{"result": {"correct": true}}',
    '{"correct": true',
    "[true]",
    "Incorrectly put, yet correct",
    "The answer is right. Or is it wrong?",
    "The answer is partially correct.",
    "who knows",
]


def verdict_of(text: str, ended: str = "stop") -> bool | str:
    parsed = parse_verdict(Completion(text, ended, Usage()))
    return parsed.reason if isinstance(parsed, Rejection) else parsed


@pytest.mark.parametrize(
    ("text", "verdict"),
    [*((text, True) for text in RIGHT), *((text, False) for text in WRONG),
     *((text, "no_verdict") for text in NONE)],
)  # fmt: skip
def test_only_known_forms_are_verdicts(text: str, verdict: bool | str) -> None:
    assert verdict_of(text) == verdict
    assert verdict_of(f"\n{text} \n") == verdict


def test_truncated_text_is_a_verdict_only_if_its_object_is_complete() -> None:
    assert verdict_of("Verdict: correct", "length") == "no_verdict"
    assert verdict_of('{"correct": false}', "length") is False


WORD = st.sampled_from(["correct", "right", "yes", "Verdict:", "Correct:", "the", "answer", "is", ".", "**"])
DOUBT = st.sampled_from(
    ["not", "isn't", "no", "never", "partially", "Partly", "far from", "hardly", "in part"]
)


@given(st.lists(WORD, max_size=8), DOUBT, st.lists(WORD, max_size=8))
@example(["Verdict:"], "not", ["correct"])
@example(["correct", "."], "not", [])
def test_doubt_in_a_line_is_never_right(before: list[str], doubt: str, after: list[str]) -> None:
    assert verdict_of(" ".join([*before, doubt, *after])) is not True


@given(st.text(max_size=80), st.sampled_from(["stop", "length"]))
def test_any_text_is_read(text: str, ended: str) -> None:
    verdict_of(text, ended)
    assert verdict_of(json.dumps({"correct": text})) is not True or text.strip(" \t*_`\"'“”#>.!").lower() in (
        "right", "correct", "yes", "true",
    )  # fmt: skip


@pytest.mark.parametrize(
    "part", ["{", "\n{", "}", ".", "Verdict:", "correct:", "* ", "not ", "\n```{", '{"a":']
)
def test_long_texts_are_read_at_once(part: str) -> None:
    started = time.process_time()
    for text in (part * 20000, part * 20000 + "}", part * 20000 + "\ncorrect"):
        verdict_of(text)
    assert time.process_time() - started < 2
