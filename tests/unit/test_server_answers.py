"""Answers of the test server are accepted by the rules of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.core.answers.parsers import (
    ParsedRationale,
    parse_augmentation,
    parse_augmentations,
    parse_rationale,
)
from models.core.types import Completion, Usage
from tests.openai_server.answers import Answers

CODES = {f"take item {number} of `items`": f"items[{number}]" for number in range(200)}
ANSWERS = Answers(CODES)
SHOWN = "Query: take item 3 of `items`\nAnswer: It is the fourth. The answer is items[3]\n\n"


def completion(text: str) -> Completion:
    return Completion(text, "stop", Usage())


def code(text: str, answers: Answers = ANSWERS) -> str:
    parsed = parse_rationale(completion(answers.answer(text)), "", hinted=False)
    assert isinstance(parsed, ParsedRationale)
    return parsed.code


@pytest.mark.parametrize(
    "asked",
    [
        "Query: {}\nAnswer:",
        "Query: {}",
        "{}",
        "Query: {}. This requires indexing the list.\nAnswer:",
        "Documentation:\nlist.pop: the answer to removal\n\nQuery: {}\nAnswer:",
    ],
)
def test_about_half_of_the_codes_are_right(asked: str) -> None:
    right = sum(code(SHOWN + asked.format(request)) == CODES[request] for request in CODES)
    assert 70 <= right <= 130


def test_the_request_alone_decides() -> None:
    request = "take item 5 of `items`"
    plain = code(f"Query: {request}\nAnswer:")
    assert code(f"{SHOWN}Query: {request}. This requires care.\nAnswer:") == plain
    salted = {ANSWERS.answer(request, salt=str(seed)) for seed in range(20)}
    assert len(salted) > 2


@pytest.mark.parametrize(
    "hint", [" (Hint: the answer is f(x)[0])", "\n\nExplain step by step why the answer is f(x)[0]"]
)
def test_a_hint_is_believed(hint: str) -> None:
    assert code(f"{SHOWN}Query: take item 7 of `items`{hint}") == "f(x)[0]"
    assert code(f"{SHOWN}Query: take item 7 of `items`{hint}", Answers()) == "f(x)[0]"


def test_a_request_of_several_lines_is_found() -> None:
    answers = Answers({f"sort\nlist {number}": f"sort({number})" for number in range(50)})
    codes = [code(f"Query: sort\nlist {number}\nAnswer:", answers) for number in range(50)]
    assert 10 <= sum(answer == f"sort({number})" for number, answer in enumerate(codes)) <= 40


def test_an_augmentation_is_accepted() -> None:
    asked = 'Say what it takes. Start with "This requires".\nsort list `a` by key'
    parsed = parse_augmentation(completion(ANSWERS.answer(asked)), "sort list `a` by key")
    assert isinstance(parsed, str)
    assert "`a`" in parsed


def test_a_batch_of_augmentations_is_accepted() -> None:
    requests = [f"sort list `a{number}` by its key" for number in range(12)]
    listed = "\n".join(f"{number}. {request}" for number, request in enumerate(requests, start=1))
    asked = f'Start each with "This requires".\n1. shown first\n2. shown second\n\nNow:\n{listed}'
    parsed = parse_augmentations(completion(ANSWERS.answer(asked)), requests)
    assert [f"`a{number}`" in str(item) for number, item in enumerate(parsed)] == [True] * 12


def test_references_are_read_from_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "references.jsonl"
    rows = [{"request": request, "reference": reference, "more": 1} for request, reference in CODES.items()]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    loaded = Answers.load(path)
    assert all(loaded.answer(request) == ANSWERS.answer(request) for request in CODES)
