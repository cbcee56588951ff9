"""Rationales that speak of the hint or the answer they were given, and texts that only use the words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.hint_leaks import mentions_hint
from tests.support.paper import packed

LEAKS = (
    # The word itself.
    "As the hint says, use f(x).",
    "According to the hint, f(x).",
    "f(x) follows from the hint.",
    "use f(x), as hinted. The answer is f(x)",
    "sort it (hint : f(x))",
    "Hint: f(x)",
    "We need a loop. **Hint**: the answer is f(x).",
    "the hint's code is f(x)",
    "However, the given hint suggests\nusing f(x)",
    "THE HINT provided in the query",
    "A hint was given, so we call f.",
    "From the provided hints we see a call of f.",
    "This leads to the hinted answer.",
    # The answer, which was there before.
    "Based on the provided answer, we sort.",
    "Since the answer is given as sorted(x), we sort.",
    "According to the given solution, it sorts.",
    "The answer was already provided: sorted(x).",
    "The supplied correct answer uses sorted.",
    "This matches the answer that is given above.",
    "The solution we were given calls sorted.",
    "We know that the answer is sorted(x), so we sort.",
    "Knowing the correct answer, we pick sorted.",
    "Given that the answer is sorted(x), sorting must be needed.",
    "Working backwards from the answer, we see a call of sorted.",
    "I reasoned back from sorted(x) to the request.",
    "Reverse-engineering the solution shows that it sorts.",
    "Based on the answer, the list must be sorted.",
    "Looking at the solution, a key is passed.",
    "This is consistent with the answer.",
    "To justify the answer, note that sorted returns a list.",
    "The reference solution calls sorted.",
    "The expected answer uses a key.",
    "The ground truth answer is sorted(x).",
    "We are told that the answer is sorted(x).",
    "I was given the correct answer sorted(x).",
    "The query already contains the answer, sorted(x).",
    "The answer in the prompt is sorted(x).",
    "The answer, as stated in the question, is sorted(x).",
    "The correct answer is known: sorted(x).",
    "However, the answer given is to call sorted.",
    # Code and output that nobody but the hint has shown.
    "As the given code shows, a key is passed.",
    "As shown in the provided snippet, sorted is called.",
    "The provided code uses sorted, so we do, too.",
    "The expected output is sorted(x).",
    "The expected code should be sorted(x).",
)
OTHERS = (
    # Hints that are something else.
    "typing.get_type_hints(f) returns a dictionary",
    "The function get_type_hints reads the type hints of f.",
    "type_hint = int",
    "add a type hint, or type hints, to f",
    "The annotations are hints that no one checks.",
    "the argument is type-hinted",
    "The type hints are given by the annotations.",
    "f(hint=3) and f(hint: str) and hint(3)",
    "def f(text, hint: str) -> None shows its text.",
    "widget.hint is set, then d['hint'] and hint.text",
    "operator.length_hint(x) estimates the size; __length_hint__ is called",
    "the field `hint` is set",
    "set_hint_text shows the hint text in the entry.",
    "The entry shows a UI hint below it.",
    "An index hint tells the optimizer which index to use, as query hints do.",
    "pandas gives performance hints where columns are fragmented.",
    "The error hints at a missing key.",
    "Chinthe and hinterland",
    # Answers, solutions, code and outputs of their own.
    "Based on the provided code documentation, we sort.",
    "The provided documentation does not provide a direct solution.",
    "The provided code documentation suggests using sorted.",
    "The answer is given x, return f(x)",
    "The given list is sorted. The answer is sorted(x).",
    "The solution is provided by the function sorted.",
    "The solution is given by f(x).",
    "In the given answer format, write the code.",
    "There is no known solution in linear time.",
    "The answer is the provided list, sorted.",
    "The answer depends on the requirements.",
    "The final answer is the resulting list. The answer code would be sorted(x).",
    "One possible solution is to sort. Another solution is heapq.",
    "The number of arguments is not known ahead of time.",
    "This prints the expected output.",
    "We iterate backwards from 10 to 0.",
    "Sort the words based on the given key, according to the given order.",
    "",
)


@pytest.mark.parametrize("text", LEAKS)
def test_a_hint_or_an_answer_that_was_given_is_a_leak(text: str) -> None:
    assert mentions_hint(text, "sort the list")
    assert not mentions_hint(text, f"say this: {text}")


@pytest.mark.parametrize("text", OTHERS)
def test_other_hints_and_answers_are_none(text: str) -> None:
    assert not mentions_hint(text, "sort the list")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("This shows the hint below the entry.", "show a hint below the entry"),
        ("We compare the given answer with 42.", "check the answer of a user"),
        ("The given solution is multiplied by b.", "verify the solution `a` of a system"),
        ("If the expected output is empty, the test passes.", "compare the output of two programs"),
        ("The given code shows an error.", "explain this code"),
    ],
)
def test_a_request_excuses_what_it_is_about(text: str, request_: str) -> None:
    assert mentions_hint(text, "sort the list")
    assert not mentions_hint(text, request_)


def test_a_request_about_hints_excuses_no_given_hint() -> None:
    request = "show a hint below the entry"
    assert mentions_hint("This shows the hint, as hinted.", request)
    assert mentions_hint("This shows a hint (Hint: the answer is f(x)).", request)


def test_appended_hint_excuses_no_mention() -> None:
    assert mentions_hint("sort it (Hint: the answer is f(x))", "sort it (Hint: the answer is f(x))")
    assert mentions_hint("As the hint says, f(x)", "sort it (Hint: the answer is f(x))")


@given(st.text(max_size=80), st.text(max_size=40))
def test_arbitrary_text_is_judged(text: str, request_: str) -> None:
    assert not (mentions_hint(text, request_) and mentions_hint(text, text))


@pytest.mark.parametrize(
    ("name", "leaks"),
    [
        ("first_pass", set()),
        # "The solution is already provided in the query"; "however, the answer given is to use ...".
        ("star_visible", {"1679798-8", "849674-100", "38081866-23", "30062429-17", "1720421-49"}),
    ],
)
def test_leaks_of_the_papers_rationales(reference_data: Path, name: str, leaks: set[str]) -> None:
    rows = packed(reference_data / "paper" / f"teacher_rationales_{name}.jsonl.gz")
    assert {row["question_id"] for row in rows if mentions_hint(row["rationale"], row["query"])} == leaks
