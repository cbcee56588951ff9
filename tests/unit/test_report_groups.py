"""Rows grouped by the values of a column, and the interval of a share."""

from __future__ import annotations

import pytest

from models.core.metrics.proportions import wilson
from producer.results.report.groups import MAX_VALUES, Grouping


def test_wilson_interval_is_that_of_the_literature() -> None:
    # Newcombe (1998), table I.
    assert wilson(81, 263) == pytest.approx((25.53, 36.62), abs=0.01)
    assert wilson(15, 148) == pytest.approx((6.24, 16.05), abs=0.01)
    assert wilson(0, 20) == pytest.approx((0.0, 16.11), abs=0.01)
    assert wilson(29, 29) == pytest.approx((88.30, 100.0), abs=0.01)


def grouped(*values: object) -> list[tuple[str, int]]:
    grouping = Grouping(["level"])
    for value in values:
        grouping.add({} if value is ... else {"level": value}, {})
    [table] = grouping.tables()
    return [(group.value, group.rows) for group in table.groups]


def test_numbers_come_in_their_order_then_texts_then_rows_without_a_value() -> None:
    assert grouped(None, "b", 10, 9, "a", 2.5, True, 1, ...) == [
        ("1", 1), ("2.5", 1), ("9", 1), ("10", 1), ("true", 1), ("a", 1), ("b", 1), ("(none)", 2),
    ]  # fmt: skip


def test_rare_values_are_counted_together() -> None:
    groups = grouped(*range(MAX_VALUES + 5), *range(MAX_VALUES))
    assert len(groups) == MAX_VALUES + 1
    assert groups[0] == ("0", 2)
    assert groups[-1] == ("other", 5)


def test_shares_and_means_of_each_group() -> None:
    grouping = Grouping(["meta.level"])
    for level, right, score in ((1, True, 4), (1, False, 5), (2, True, 1)):
        grouping.add({"meta": {"level": level}}, {"right": [right], "score": [score, score + 1]})
    [table] = grouping.tables()
    assert table.names == ["right", "score"]
    first, second = table.groups
    assert (first.measures["right"].mean, first.measures["score"].mean, first.measures["score"].n) == (
        50,
        5,
        4,
    )
    assert (second.measures["right"].interval, second.measures["score"].interval) == (wilson(1, 1), None)


def test_intervals_of_groups_keep_answers_of_a_row_and_rows_of_a_question_together() -> None:
    """Three seeds that always agree tell no more than one; nor do rows of one question that do."""
    seeds, questions, rows = Grouping(["level"]), Grouping(["level"]), Grouping(["level"])
    for number in range(40):
        right = number % 4 == 0
        seeds.add({"level": 1}, {"right": [right] * 3})
        rows.add({"level": 1}, {"right": [right]})
        for _ in range(3):
            questions.add({"level": 1}, {"right": [right]}, question=f"q{number}")
    widths = []
    for grouping in (rows, seeds, questions):
        [table] = grouping.tables()
        interval = table.groups[0].measures["right"].interval
        assert interval
        widths.append(interval[1] - interval[0])
    assert widths[1] == widths[2] == pytest.approx(widths[0], rel=0.05)
