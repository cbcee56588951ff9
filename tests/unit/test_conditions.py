"""Conditions over columns: when they hold, what null does, and the fields of values."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.prompts.column_values import ExpressionError, Null, column_value, is_null
from models.core.prompts.expressions import ROW, Condition, PromptText


def render(source: str, **columns: Any) -> str:
    return PromptText(source).render(columns)


def holds(source: str, **columns: Any) -> bool:
    return Condition(source).holds(columns)


def test_a_condition_knows_the_columns_that_it_reads() -> None:
    assert Condition('critique.score < 4 and row["my column"]').columns == {"critique", "my column"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("score < 4", True),
        ("score < 3", False),
        ("1 < score <= 3", True),
        ("3 < score < 9", False),
        ("not (score > 3)", True),
        ("nested.score >= 2 and flag", True),
        ("name == 'x' or score == 9", True),
        ("name in ['x', 'y'] and 'y' not in name", True),
        ("names | length == 2 and 'b' in names", True),
        ("score", True),
        ("zero", False),
        ("blank", False),
        ("row.score == 3 and row['my column']", True),
        ("name if flag else ''", True),
        ("score + 2 > 4 and -score < 0", True),
        ("name != 'x'", False),
        ("score is odd and name is string", True),
    ],
)
def test_a_condition_holds_or_not(source: str, expected: bool) -> None:
    columns = {"score": 3, "nested": {"score": 2.5}, "flag": True, "name": "x", "names": ["a", "b"],
               "zero": 0, "blank": "", "my column": 1}  # fmt: skip
    assert Condition(source).holds({**columns, ROW: columns}) is expected


@pytest.mark.parametrize(
    "critique", [{}, {"critique": None}, {"critique": {"score": None}}, {"critique": {}}]
)
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("critique.score < 4", False),
        ("critique.score >= 4", False),
        ("4 > critique.score", False),
        ("not (critique.score < 4)", True),
        ("not critique.score", True),
        ("critique.score < 4 or forced", True),
        ("critique.score + 1 < 4", False),
        ("-critique.score < 4", False),
        ("critique.score == 4", False),
        ("critique.score != 4", True),
        ("critique.score is none", True),
        ("critique.score == none", True),
        ("critique.score | default(0) < 4", True),
        ("'a' in critique.score", False),
        ("critique.score.more.of.it", False),
    ],
)
def test_null_is_false_and_so_is_each_comparison_with_it(
    critique: dict[str, Any], source: str, expected: bool
) -> None:
    assert holds(source, **critique, forced=True) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("n < 4", True), ("n == 3", True), ("n != 3", False), ("4 > n", True), ("n == '3'", True),
        ("padded <= 3.5", True), ("blank < 4", False), ("blank == 0", False), ("date > '2019'", True),
    ],
)  # fmt: skip
def test_numbers_of_a_csv_file_are_compared_as_numbers(source: str, expected: bool) -> None:
    assert holds(source, n="3", padded=" 3.50 ", blank="", date="2020-01-01") is expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("n < 4", """'n < 4' compares a text with a number: "n/a" < 4"""),
        ("names >= n", """'names >= n' compares a list with a text: ["a"] >= "n/a\""""),
        ("n + 1 > 2", "'n + 1 > 2' + takes numbers, found a text and a number"),
        ("n | round > 2", "'n | round > 2' could not convert string to float: 'n/a'"),
    ],
)
def test_what_has_no_order_is_said(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as error:
        holds(source, n="n/a", names=["a"])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("score <", "it ends too early"),
        ("score = 3", "write == to compare"),
        ("score 3", "nothing is expected before"),
        ("", "Expected an expression"),
        ("a, b", "is no single condition"),
        ("a }} b {{ c", "is written without {{ }}"),
        ("{{ a }}", "is written without {{ }}"),
        ("a }} b", "is no single condition"),
        ("a %}", "unexpected '}'"),
        ("os.system('x')", "nothing can be called"),
        ("lipsum", ""),
        ("a ** 9", "there is no **"),
        ("(" * 2000 + "a" + ")" * 2000, "is nested too deeply"),
        ("a " * 20_000, "is longer than 20,000 characters"),
    ],
)
def test_what_is_no_condition_is_refused(source: str, words: str) -> None:
    if not words:  # a name of Jinja's own is a column like any other
        assert not holds(source)
        return
    with pytest.raises(ExpressionError) as error:
        Condition(source)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["x = 1", {"a": 1}, [1, 2], 4, 2.5])
def test_a_value_may_have_fields_of_its_result(value: Any) -> None:
    seen = column_value({"value": value, "agreement": 0.5, "text": "around"})
    assert seen == value
    columns = {"best": seen, "plain": value}
    assert render("{{ best }}", **columns) == render("{{ plain }}", **columns)
    assert render("{{ best.agreement }} {{ best.text }}", **columns) == "0.5 around"
    assert holds("best.agreement > 0.4 and best == plain", **columns)
    assert column_value({"value": value}) is value


def test_fields_of_null_can_be_read() -> None:
    seen = column_value({"value": None, "agreement": 0.25})
    assert isinstance(seen, Null)
    assert render("[{{ best }}] {{ best.agreement }} [{{ best.other }}]", best=seen) == "[] 0.25 []"
    assert holds("best.agreement < 0.5 and not best and best is none", best=seen)
    assert all(map(is_null, (seen, column_value({"value": None}), column_value(None))))


def test_an_objects_own_key_wins_over_a_field() -> None:
    seen = column_value(
        {"value": {"score": 1, "value": 2, "items": [3], "text": "own"}, "score": 9, "more": 8}
    )
    assert (
        render("{{ v.score }} {{ v.value }} {{ v.items[0] }} {{ v.text }} {{ v.more }}", v=seen)
        == "1 2 3 own 8"
    )
