"""The rules of correctness, on the paper's own rationales and on edge cases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.correctness import RULES, is_correct

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


@settings(deadline=None)
@given(TEXT, TEXT)
def test_rules_of_correctness_accept_arbitrary_strings(rationale: str, reference: str) -> None:
    verdicts = {rule: is_correct(rule, rationale, reference) for rule in RULES}
    assert verdicts["tree"] or not verdicts["strict"]


@pytest.mark.parametrize("deep", ["a" + ".b" * 99999, "-" * 99999 + "1", "[" * 90 + "]" * 90])
def test_deep_nesting_is_judged(deep: str) -> None:
    assert is_correct("tree", f"The answer is {deep}", deep)
    assert not is_correct("tree", f"The answer is {deep}", f"{deep}, 1")
