"""The rules of correctness, on the paper's own rationales and on edge cases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.correctness import RULES, is_correct, mentions_hint

TEXT = st.text(max_size=80) | st.text(alphabet="`.: \nx", max_size=20).map("The answer is ".__add__)


def test_counts_on_the_papers_first_pass(reference_data: Path) -> None:
    train = json.loads((reference_data / "conala" / "train.json").read_text())
    reference = {row["question_id"]: row["cmd"] for row in train}  # the last row of an id counts
    with gzip.open(reference_data / "paper" / "teacher_rationales_first_pass.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    counts = {
        rule: sum(is_correct(rule, row["rationale"], reference[row["question_id"]]) for row in rows)
        for rule in RULES
    }
    assert len(rows) == 2117
    assert counts == {"paper": 189, "strict": 147, "tree": 182}
    assert not any(mentions_hint(row["rationale"], row["query"]) for row in rows)


def test_hint_leaks_of_the_papers_second_pass(reference_data: Path) -> None:
    with gzip.open(reference_data / "paper" / "teacher_rationales_star_visible.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    leaks = {row["question_id"] for row in rows if mentions_hint(row["rationale"], row["query"])}
    assert leaks == {"1679798-8", "849674-100", "38081866-23"}


@pytest.mark.parametrize(
    ("rationale", "reference", "accepted"),
    [
        ("The answer is f(x).", "f(x)", "paper strict tree"),
        ("THE ANSWER IS: `f(x)`.", "f(x)", "paper strict tree"),
        ("So it is f(x)", "f(x)", "paper"),
        ("The answer is y = f(x)", "f(x)", "paper"),
        ("The answer is g. No, the answer is f(x)", "f(x)", "paper strict tree"),
        ("The answer is f(x). No, the answer is g", "f(x)", ""),
        ("The answer is f( x,  y )", "f(x, y)", "tree"),
        ("The answer is f('x')", 'f("x")', "tree"),
        ("The answer is a b\n c", "a  b c", "tree"),
        ("The answer is f(x).", "f(x).", "strict tree"),
        ("The answer is # one", "# two", ""),
        ("The answer is", "", ""),
        ("anything", "", ""),
        ("The answer is:\n```python\nf(x)\n```\nIt calls f.", "f(x)", "strict tree"),
        ("The answer is f(x).\n```\ng = f(x)\nprint(g)\n```", "f(x)", "strict tree"),
    ],
)
def test_each_rule_judges_the_rationale(rationale: str, reference: str, accepted: str) -> None:
    assert [rule for rule in RULES if is_correct(rule, rationale, reference)] == accepted.split()


@pytest.mark.parametrize(
    "text",
    [
        "As the hint says, use f(x).",
        "According to the hint, f(x).",
        "f(x) follows from the hint.",
        "use f(x), as hinted. The answer is f(x)",
        "sort it (Hint: the answer is f(x))",
        "sort it (hint : the answer is f(x))",
        "Hint: f(x)",
        "the hint's code is f(x)",
        "However, the given hint suggests\nusing f(x)",
        "THE HINT provided in the query",
    ],
)
def test_mention_of_a_hint_is_a_leak(text: str) -> None:
    assert mentions_hint(text, "sort the list")


@pytest.mark.parametrize(
    "text",
    [
        "typing.get_type_hints(f) returns a dictionary",
        "type_hint = int",
        "add a type hint, or type hints, to f",
        "the argument is type-hinted",
        "f(hint=3) and f(hint: str) and hint(3)",
        "widget.hint is set, then d['hint'] and hint.text",
        "operator.length_hint(x) estimates the size; __length_hint__ is called",
        "the field `hint` is set",
        "Chinthe and hinterland",
        "",
    ],
)
def test_the_word_hint_in_code_is_no_leak(text: str) -> None:
    assert not mentions_hint(text, "sort the list")


def test_request_about_hints_excuses_its_own_words() -> None:
    request = "show a hint below the entry"
    assert not mentions_hint("This shows the hint below the entry.", request)
    assert mentions_hint("This shows the hint, as hinted.", request)
    assert mentions_hint("This shows a hint (Hint: the answer is f(x)).", request)


def test_appended_hint_excuses_no_mention() -> None:
    assert mentions_hint("As the hint says, f(x)", "sort it (Hint: the answer is f(x))")


@settings(deadline=None)
@given(TEXT, TEXT)
def test_rules_of_correctness_accept_arbitrary_strings(rationale: str, reference: str) -> None:
    verdicts = {rule: is_correct(rule, rationale, reference) for rule in RULES}
    assert verdicts["tree"] or not verdicts["strict"]
    mentions_hint(rationale, reference)


@pytest.mark.parametrize("deep", ["a" + ".b" * 99999, "-" * 99999 + "1", "[" * 90 + "]" * 90])
def test_deep_nesting_is_judged(deep: str) -> None:
    assert is_correct("tree", f"The answer is {deep}", deep)
    assert not is_correct("tree", f"The answer is {deep}", f"{deep}, 1")
