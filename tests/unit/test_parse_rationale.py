"""Rationales of teachers: the code that they give, and why one is rejected."""

from __future__ import annotations

import pytest

from models.core.answers.checks import REASONS
from models.core.answers.parsers import ParsedRationale, parse_rationale
from models.core.types import Rejection
from tests.support.step_services import completion


def reason(answer: object) -> str:
    assert isinstance(answer, Rejection), answer
    assert answer.reason in REASONS
    assert len(answer.detail) <= 200
    return answer.reason


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("f sorts. The answer is f(x).", "f(x)"),
        ("f sorts. The answer is: `f(x)`.", "f(x)"),
        (
            "f sorts. The final result: THE ANSWER IS\n```python\nfor y in x:\n    f(y)\n```",
            "for y in x:\n    f(y)",
        ),
        ("f sorts. The answer is ``` f(x) ```", "f(x)"),
        ("f sorts. The answer is ```py f(x)```.", "f(x)"),
        ("f sorts. The answer is as follows.\n```\nf(x)\n", "f(x)"),
    ],
)
def test_rationale_and_its_code_are_parsed(text: str, code: str) -> None:
    assert parse_rationale(completion(f"\n{text} \n"), "sort x", hinted=False) == ParsedRationale(
        text.strip(), code
    )


def test_rationale_ends_before_an_invented_example() -> None:
    text = "f sorts. The answer is f(x).\n\nRequest: print y\nThe answer is print(y)."
    assert parse_rationale(completion(text), "sort x", hinted=False) == ParsedRationale(
        "f sorts. The answer is f(x).", "f(x)"
    )


HINTED = "sort x. This requires sorting x (Hint: the answer is f(x))"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(x) sorts x.", "no_answer"),
        ("f(x) sorts x. The answer is:", "no_code"),
        ("f(x) sorts x. The answer is ``.", "no_code"),
        ("sort x", "parroted"),
        ("Request: Sort `x`. This requires sorting x.", "parroted"),
        ("Sort x. The answer is f(x)", "parroted"),
        ("f sorts. The answer is sort x.", "parroted"),
        ("As the hint says, the answer is f(x)", "hint_leak"),
        ("<html>", "html"),
    ],
)
def test_unusable_rationale_is_rejected_with_its_reason(text: str, expected: str) -> None:
    assert reason(parse_rationale(completion(text), HINTED, hinted=True)) == expected


def test_hint_leak_needs_a_hint() -> None:
    text = "The hint of a widget is text. The answer is f(x)"
    assert isinstance(parse_rationale(completion(text), "sort x", hinted=False), ParsedRationale)
    assert reason(parse_rationale(completion(text), "sort x", hinted=True)) == "hint_leak"


def test_a_request_that_is_code_may_be_its_own_answer() -> None:
    answer = parse_rationale(completion("It assigns 5. The answer is x = 5"), "x = 5", hinted=False)
    assert isinstance(answer, ParsedRationale)
