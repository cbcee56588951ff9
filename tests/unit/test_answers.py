"""Accepted and rejected answers of models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.answers.checks import REASONS, usable_text
from models.core.answers.extraction import extract_prediction
from models.core.answers.parsers import (
    parse_augmentation,
    parse_augmentations,
    parse_rationale,
)
from models.core.prompts.rendering import augmented_request
from models.core.types import Completion, Rejection, Usage

TEXT = st.text(max_size=120) | st.text(alphabet="`.: \nx12)*\"'", max_size=60).map(
    "This requires The answer is".__add__
)


def completion_of(text: str | None, finish_reason: str = "stop", refusal: str | None = None) -> Completion:
    return Completion(text, finish_reason, Usage(), refusal)


def reason(answer: object) -> str:
    assert isinstance(answer, Rejection), answer
    assert answer.reason in REASONS
    assert len(answer.detail) <= 200
    return answer.reason


def test_reasons_explain_themselves_in_one_line() -> None:
    soft = {name for name, entry in REASONS.items() if entry.soft}
    assert soft == {"truncated", "no_answer", "no_code", "parroted", "hint_leak", "no_verdict", "no_pairs",
            "no_json", "schema", "no_score", "words", "pattern"}  # fmt: skip
    hard = {"null", "empty", "limit_used_up", "refusal", "html", "malformed", "missing"}
    assert REASONS.keys() == soft | hard
    assert {name for name, entry in REASONS.items() if entry.final} == {"limit_used_up"}
    assert all(entry.description and "\n" not in entry.description for entry in REASONS.values())


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (completion_of(None), "null"),
        (completion_of(None, refusal="I can't help with that."), "refusal"),
        (completion_of(None, "content_filter"), "refusal"),
        (completion_of("x = ", "content_filter"), "refusal"),
        (completion_of(""), "empty"),
        (completion_of(" \n\u200b\ufeff\x00"), "empty"),
        (completion_of("", "length"), "limit_used_up"),
        (completion_of(None, "length"), "limit_used_up"),
        (completion_of("<!DOCTYPE html>\n<title>502</title>"), "html"),
        (completion_of("\n<HTML lang='en'>"), "html"),
        (completion_of("I'm sorry, but I can't assist with that."), "refusal"),
        (completion_of("I’m really sorry, but that's not something I can help with."), "refusal"),
        (completion_of("I cannot fulfill this request."), "refusal"),
        (completion_of("I apologize, but I am unable to provide code."), "refusal"),
        (completion_of("As an AI language model, I do not run code."), "refusal"),
        (completion_of("x = 1", "length"), "truncated"),
    ],
)
def test_unusable_completion_has_its_reason(completion: Completion, expected: str) -> None:
    assert reason(usable_text(completion)) == expected


@pytest.mark.parametrize(
    "text",
    [
        " x = 1\n",
        "'<html>'.strip()",
        "print('I cannot help')",
        "We can't use `sort` here. The answer is sorted(x)",
        "I'm sorry, I cannot see the list. The answer is sorted(x)",
        "Unfortunately, Python cannot do it directly.",
    ],
)
def test_usable_text_is_left_as_it_came(text: str) -> None:
    assert usable_text(completion_of(text)) == text


def test_details_are_short_printable_and_show_where_it_broke_off() -> None:
    cut = usable_text(completion_of("a\n" * 500 + "the\x00 end\ud800", "length"))
    assert reason(cut) == "truncated"
    assert isinstance(cut, Rejection)
    assert cut.detail.endswith("the\ufffd end\ufffd")
    assert cut.detail.isprintable()


@pytest.mark.parametrize(
    ("text", "augmentation"),
    [
        ("This requires using `sort`.", "This requires using `sort`."),
        ("sort x. This requires using `sort`.\n\nRequest: next", "This requires using `sort`."),
        ("This requires using\n  `sort`.\nQuery: next", "This requires using `sort`."),
        ('"Sort x. This requires using `sort`."', "This requires using `sort`."),
        ("“This requires using ‘sort’.”", "This requires using ‘sort’."),
        ("**This requires** using `sort`", "This requires using `sort`"),
        ("this requires: using `sort`", "This requires using `sort`"),
        ('This requires printing "a    b"', 'This requires printing "a    b"'),
        ('"a" to b. This requires printing "a"', 'This requires printing "a"'),
    ],
)
def test_augmentation_is_parsed(text: str, augmentation: str) -> None:
    assert parse_augmentation(completion_of(text), "sort x") == augmentation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This involves sorting.", "no_answer"),
        ("This requires:", "no_answer"),
        ("Sort the list `x` by name", "parroted"),
        ("Request: sort the list x by name.", "parroted"),
        ("This requires sort the list `x` by name.", "parroted"),
        ("This requires sorting the list `x` by name.", "parroted"),
        ("This requires sort", "truncated"),
        ("I'm sorry, but I can't do that.", "refusal"),
    ],
)
def test_unusable_augmentation_is_rejected_with_its_reason(text: str, expected: str) -> None:
    completion = completion_of(text, "length" if expected == "truncated" else "stop")
    assert reason(parse_augmentation(completion, "sort the list `x` by name")) == expected


def test_augmentations_of_the_papers_teacher(reference_data: Path) -> None:
    with gzip.open(reference_data / "paper" / "teacher_query_augmentations.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    parsed = [parse_augmentation(completion_of(row["augmentation"]), row["query"]) for row in rows]
    asked = [row["augmentation"].count("This requires") for row in rows]
    for answer, row, count in zip(parsed, rows, asked, strict=True):
        if isinstance(answer, str):
            assert row["augmentation"].endswith(answer)
        else:
            assert (count == 0) == (answer.reason == "no_answer")
    assert sum(isinstance(answer, str) for answer in parsed) > 1950


def test_any_text_makes_the_papers_requests(reference_data: Path) -> None:
    """All of them, but for a second full stop of the paper's where a request ends in one."""

    def read(name: str) -> dict[str, Any]:
        with gzip.open(reference_data / "paper" / f"{name}.jsonl.gz", "rt") as lines:
            return {row["question_id"]: row for row in map(json.loads, lines)}

    augmented, reasoned = read("teacher_query_augmentations"), read("teacher_rationales_first_pass")
    for key, row in reasoned.items():
        request = augmented[key]["query"]
        completion = completion_of(augmented[key]["augmentation"])
        augmentation = parse_augmentation(completion, request, any_text=True)
        assert isinstance(augmentation, str)
        assert augmented_request(request, augmentation) == row["query"].replace(".. ", ". ", 1)
    assert reason(parse_augmentation(completion_of(" \n "), "sort x", any_text=True)) == "empty"


REQUESTS = ["sort x", "print y", "drop z"]
ALL = ["This requires a.", "This requires b, 2. c.", "This requires d."]


@pytest.mark.parametrize(
    "text",
    [
        "1. This requires a.\n2. This requires b, 2. c.\n3. This requires d.",
        "Sure:\n\n1) This requires a.\n\n**2.** print y. This requires b, 2. c.\n\n3: This requires d.\n",
        "1. This requires a. 2. This requires b, 2. c. 3. This requires d.",
        "This requires a.\nThis requires b, 2. c.\nThis requires d.",
        "3. This requires d.\n1. This requires a.\n2. This requires b, 2. c.",
        "1. sort x\n2. print y\n3. drop z\n\n"
        "1. This requires a.\n2. This requires b, 2. c.\n3. This requires d.",
        "1. This requires a.\n2. This requires b, 2. c.\n3. This requires d.\n4. This requires more.",
    ],
)
def test_numbered_reply_is_split_by_number(text: str) -> None:
    assert parse_augmentations(completion_of(text), REQUESTS) == ALL


def test_numbered_reply_with_gaps_rejects_what_is_missing() -> None:
    first, second, third = parse_augmentations(completion_of("1. This requires a.\n3. print it"), REQUESTS)
    assert first == "This requires a."
    assert (reason(second), reason(third)) == ("missing", "no_answer")


def test_truncated_numbered_reply_keeps_its_whole_items() -> None:
    answers = parse_augmentations(completion_of("1. This requires a.\n2. This requ", "length"), REQUESTS)
    assert answers[0] == "This requires a."
    assert [reason(answer) for answer in answers[1:]] == ["truncated", "missing"]


def test_unusable_reply_rejects_every_item() -> None:
    assert [reason(answer) for answer in parse_augmentations(completion_of(None), REQUESTS)] == ["null"] * 3


def test_reply_to_one_request_needs_no_number() -> None:
    assert parse_augmentations(completion_of("This requires a."), ["sort x"]) == ["This requires a."]


@pytest.mark.parametrize(
    ("text", "paper", "strict"),
    [
        ("f sorts. The answer is `f(x)`\nQuery: next", "f(x)", "f(x)"),
        ("f sorts. The answer code is f(x)", "The answer code is f(x)", "f sorts. The answer code is f(x)"),
        ("f(x)", "f(x)", "f(x)"),
        ("f sorts x. the answer is f(x).", "the answer is f(x).", "f(x)"),
        ("\n\n`f(x)`\nIt sorts.", "f(x)\nIt sorts.", "f(x)"),
        ("Use this:\n```python\nf(x)\n```\nIt sorts.", "Use this:\npython\nf(x)\n\nIt sorts.", "f(x)"),
        ("The answer is f(x)\n\n## Request: next\nThe answer is g", "g", "f(x)"),
        ("The answer is print('Request: ')", "print('Request: ')", "print('Request: ')"),
        ("The answer is x. The answer is", "", ""),
        ("The answer is class A:\n    query: str", "class A:\n    query: str", "class A:\n    query: str"),
        ("", "", ""),
    ],
)
def test_prediction_is_extracted_by_either_rule(text: str, paper: str, strict: str) -> None:
    assert extract_prediction("paper", text) == paper
    assert extract_prediction("strict", text) == strict


@settings(deadline=None)
@given(TEXT, TEXT, st.booleans(), st.sampled_from(["stop", "length", "content_filter", "weird"]))
def test_arbitrary_text_gives_an_answer_or_a_rejection(
    text: str, request_: str, hinted: bool, ended: str
) -> None:
    completion = completion_of(text, ended)
    for answer in [
        usable_text(completion),
        parse_augmentation(completion, request_),
        parse_rationale(completion, request_, hinted),
        *parse_augmentations(completion, [request_, "print y"]),
    ]:
        assert not isinstance(answer, Rejection) or reason(answer)
    augmented = parse_augmentation(completion, request_)
    if isinstance(augmented, str):
        assert augmented.startswith("This requires ")
        assert len(augmented.splitlines()) == 1
    assert len(parse_augmentations(completion, [request_] * 3)) == 3
    for code in (extract_prediction("paper", text), extract_prediction("strict", text)):
        assert isinstance(code, str)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "unit", ["1. ", " ", "\n", "`", "```", '"', "*", "This requires ", "The answer is ", "(hint "]
)
def test_repetition_without_end_is_parsed_in_time(unit: str) -> None:
    for text in (
        unit * 20_000,
        "1." + unit * 20_000 + "This requires x",
        "This requires x" + unit * 20_000 + "y",
    ):
        parse_augmentations(completion_of(text), REQUESTS)
        parse_rationale(completion_of(text), "sort x", hinted=True)
        extract_prediction("strict", text)
