"""Types of exported columns that only their values tell."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from producer.results.export.file_formats import inferred_file
from producer.results.export.inferred_columns import MAX_NAMES, InferredColumns


def inferred(*values: Any) -> Any:
    columns = InferredColumns({})
    for value in values:
        columns.add({} if value is ... else {"x": value})
    return columns.shape().get("x")


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([1, None, 2], int),
        ([1, 2.5], float),
        ([None, ...], str),
        ([True, False], bool),
        ([True, 1], object),
        (["a", 1], object),
        ([2**63], object),
        ([[], [1], None], [int]),
        ([[], None], [str]),
        ([[1], ["a"]], object),
        ([{"a": 1}, {"b": [None, "c"]}], {"a": int, "b": [str]}),
        ([{"a": 1}, {"a": {"b": 1}}], object),
        ([{}], object),
        ([{f"k{number}": 1 for number in range(MAX_NAMES + 1)}], object),
        ([{f"k{number}": 1} for number in range(MAX_NAMES + 1)], object),
    ],
)  # fmt: skip
def test_a_column_has_the_type_of_all_its_values(values: list[Any], shape: Any) -> None:
    assert inferred(*values) == shape


def test_late_columns_come_before_those_of_steps() -> None:
    columns = InferredColumns({"known": str}, "step")
    columns.add({"known": "k", "a": 1, "step": 2})
    columns.add({"b": "late", "step": None})
    assert list(columns.shape().items()) == [("known", str), ("a", int), ("b", str), ("step", int)]


ROWS: list[dict[str, Any]] = [
    {"text": 'say "hi",\r\nthen\x00', "mixed": "a", "list": [1, None], "object": {"a": "\ud800"}},
    {"text": None, "mixed": 1, "list": None, "object": None},
]


def written(path: Path, format_: str) -> Path:
    with inferred_file(path, format_, InferredColumns({})) as add:
        for row in ROWS:
            add(row)
    return path


def test_parquet_keeps_types_and_writes_mixed_values_as_json(tmp_path: Path) -> None:
    table = parquet.read_table(written(tmp_path / "x.parquet", "parquet"))
    assert table.to_pylist() == [
        {**ROWS[0], "mixed": '"a"', "object": {"a": "?"}}, {**ROWS[1], "mixed": "1"}
    ]  # fmt: skip


def test_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    with written(tmp_path / "x.csv", "csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {"text": ROWS[0]["text"], "mixed": "a", "list": "[1, null]", "object": '{"a": "?"}'}
    assert second == {"text": "", "mixed": "1", "list": "", "object": ""}
