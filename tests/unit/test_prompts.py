"""Prompts hold what they are given, where it belongs, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.parsers import ParsedRationale, parse_augmentation, parse_rationale
from models.core.correctness import is_correct
from models.core.prompts.rendering import HintStyle, augmented_request
from models.core.types import Completion, Exemplar, Passage, Usage
from tests.support.task_folders import augmentation_pairs, seeds, wording

WORDING = wording()
AUGMENTATION_SEEDS = augmentation_pairs()
JOIN = Passage("os.path.join", "os.path.join", "(a, /, *p)", "Join two or more path components.")
SHOWN = Exemplar("sum list `xs`", "sum(xs)", "sum adds them up. The answer is sum(xs)", (JOIN,))
WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz `'", min_size=1).filter(str.strip)


def completion_of(text: str) -> Completion:
    return Completion(text, "stop", Usage())


def test_an_augmentation_is_asked_for_after_the_seeds() -> None:
    messages = WORDING.augmentation("sort `xs`", AUGMENTATION_SEEDS)
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert messages[-1].content == "sort `xs`"


def test_several_requests_are_numbered_one_a_line() -> None:
    messages = WORDING.augmentations(["sort\n`xs`", "sum `ys`"], AUGMENTATION_SEEDS)
    assert messages[-1].content == "1. sort `xs`\n2. sum `ys`"
    assert messages[2].content.startswith("1. This requires")


def test_documentation_is_labelled_with_name_and_arguments() -> None:
    [*_, last] = WORDING.rationale("join `a` and `b`", [JOIN], [])
    assert "os.path.join(a, /, *p): Join two or more path components." in last.content
    assert last.content.index("Documentation:") < last.content.index("Query: join `a` and `b`")


def test_documentation_without_a_name_is_shown_as_it_is() -> None:
    prompt = WORDING.student_prompt("x", [Passage("", "", "", "Some text.")], [])
    assert prompt == "Documentation:\nSome text.\n\nQuery: x\nAnswer:"


@pytest.mark.parametrize(
    ("style", "given_away"),
    [
        ("paper", "Query: join (Hint: the answer is os.path.join(a, b))\n"),
        ("explain", "why the answer is os.path.join(a, b)\n"),
    ],
)
def test_the_hint_stands_once_in_the_last_message_alone(style: HintStyle, given_away: str) -> None:
    hinted = WORDING.rationale("join", [JOIN], [SHOWN], "os.path.join(a, b)", style)
    plain = WORDING.rationale("join", [JOIN], [SHOWN])
    assert hinted[-1].content.count(given_away) == 1
    assert hinted[:-1] == plain[:-1]


def test_sample_code_in_place_of_a_signature_is_no_label() -> None:
    sample = Passage("actions", "Admin actions", ">>> from m import f\n>>> f('x')", "Select and change.")
    assert "Admin actions: Select and change." in WORDING.student_prompt("x", [sample], [])


@given(request=WORDS, reference=st.from_regex(r"[A-Z]{12}\(\)", fullmatch=True))
def test_without_a_hint_the_reference_is_nowhere(request: str, reference: str) -> None:
    messages = WORDING.rationale(request, [JOIN], [SHOWN])
    assert all(reference not in message.content for message in messages)


@given(
    request=WORDS,
    passages=st.lists(st.just(JOIN), max_size=3),
    exemplars=st.lists(st.just(SHOWN), max_size=3),
)
def test_a_student_sees_its_examples_in_the_form_of_its_question(
    request: str, passages: list[Passage], exemplars: list[Exemplar]
) -> None:
    prompt = WORDING.student_prompt(request, passages, exemplars)
    assert prompt.endswith(f"Query: {request}\nAnswer:")
    assert prompt.count("Query: ") == len(exemplars) + 1
    assert prompt.count("Documentation:") == len(exemplars) + bool(passages)


def test_an_exemplar_without_rationale_shows_its_answer() -> None:
    prompt = WORDING.student_prompt("x", [], [Exemplar("sum `xs`", "sum(xs)")])
    assert prompt == "Query: sum `xs`\nAnswer: The answer is sum(xs)\n\nQuery: x\nAnswer:"


def test_the_enhanced_request_is_the_request_and_what_it_requires() -> None:
    assert augmented_request("sort `xs`.", "This requires it.") == "sort `xs`. This requires it."


@pytest.mark.parametrize(("request_", "augmentation"), AUGMENTATION_SEEDS)
def test_shipped_augmentations_pass_their_own_check(request_: str, augmentation: str) -> None:
    assert parse_augmentation(completion_of(augmentation), request_) == augmentation


@pytest.mark.parametrize("seed", seeds("rationales"), ids=lambda seed: seed["request"])
def test_shipped_rationales_pass_their_own_check_and_are_right(seed: dict[str, Any]) -> None:
    assert isinstance(
        parse_rationale(completion_of(seed["rationale"]), seed["request"], hinted=False), ParsedRationale
    )
    assert is_correct("strict", seed["rationale"], seed["answer"])
