"""Columns fill the fields that pipelines with references read, and rows find their split by their content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, ExperimentError, UsageError
from models.core.experiment.data_source import Data, SplitRule
from models.core.types import AnswerTests, Example
from producer.experiments.data_rows import open_data
from producer.experiments.datasets import read_dataset
from producer.experiments.splitting import split_rows
from storage.schema import TEST, TRAIN
from tests.support.small_run import experiment

Row = dict[str, Any]
ROW: Row = {
    "question": "q",
    "answer": 42,
    "meta": {"level": 3, "ids": ["x"]},
    "messages": [{"content": "hi"}],
}


def read(folder: Path, rows: Sequence[Row], split: Any = None, **data: Any) -> dict[str, list[Example]]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {"dataset": None, "data": {"path": str(path), **data}, "split": split, "students": []}
    splits = read_dataset(experiment(**config))
    return {name: list(examples) for name, examples in splits.items()}


def refusal(folder: Path, rows: Sequence[Row], **options: Any) -> str:
    with pytest.raises((DatasetError, ExperimentError)) as error:
        read(folder, rows, **options)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_columns_fill_fields(tmp_path: Path) -> None:
    fields = {
        "request": "messages.0.content",
        "reference": "answer",
        "id": "meta.level",
        "oracle": "meta.ids",
    }
    splits = read(tmp_path, [ROW], fields=fields)
    assert splits == {TRAIN: [Example(0, "3", "hi", "42", ("x",), columns=ROW)], TEST: []}


def test_columns_of_the_fields_names_need_no_map(tmp_path: Path) -> None:
    row = {"request": "r", "reference": "c", "id": 7, "oracle": "no list", "tests": 3, "prefix": 1}
    [example] = read(tmp_path, [row])[TRAIN]
    assert example == Example(0, "7", "r", "c", columns=row)


def test_column_of_the_exact_name_comes_before_a_nested_one(tmp_path: Path) -> None:
    row = {"a.b": "whole", "a": {"b": "nested"}}
    assert read(tmp_path, [row], fields={"request": "a.b"})[TRAIN][0].request == "whole"


@pytest.mark.parametrize(
    ("value", "text"), [(42, "42"), (3.0, "3.0"), (-0.5, "-0.5"), (True, "true"), (None, ""), (" x ", " x ")]
)
def test_numbers_and_truth_values_become_text(tmp_path: Path, value: Any, text: str) -> None:
    [example] = read(tmp_path, [{"request": "r", "reference": value}])[TRAIN]
    assert example.reference == text
    assert example.columns["reference"] == value


def test_row_without_reference_or_id_has_none(tmp_path: Path) -> None:
    rows: list[Row] = [{"request": "r", "more": 1}, {"request": "s"}]
    assert read(tmp_path, rows)[TRAIN] == [
        Example(0, "0", "r", "", has_id=False, columns=rows[0]),
        Example(1, "1", "s", "", has_id=False, columns=rows[1]),
    ]


def test_tests_are_read_where_a_field_names_them(tmp_path: Path) -> None:
    row = {"request": "r", "checks": ["assert f", "assert g"], "entry_point": "f", "suffix": None}
    [example] = read(tmp_path, [row], fields={"tests": "checks"})[TRAIN]
    assert example.tests == AnswerTests("assert f\nassert g", "f")


@pytest.mark.parametrize(
    ("row", "fields", "says"),
    [
        (
            {"question": "q", "level": 1},
            {},
            "rows.jsonl:1: has no column 'request', which the pipeline needs; name another by "
            "data.fields.request; did you mean question? the columns are question, level",
        ),
        (
            {"question": "q", "level": 1},
            {"request": "qestion"},
            "rows.jsonl:1: has no column 'qestion', which data.fields.request names; did you mean question? "
            "the columns are question, level",
        ),
        ({"request": " "}, {}, "rows.jsonl:1: 'request' must be a text that is not empty"),
        (
            {"request": "r", "answer": 1},
            {"reference": "anwser"},
            "rows.jsonl: no row has 'anwser', which data.fields.reference names; did you mean answer? "
            "the columns are request, answer",
        ),
        (
            {"request": "r", "answer": [1]},
            {"reference": "answer"},
            "rows.jsonl:1: 'answer' must be a text or a number, found list",
        ),
        (
            {"request": "r", "docs": "m.f"},
            {"oracle": "docs"},
            "rows.jsonl:1: 'docs' must be a list of passage ids",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, row: Row, fields: dict[str, str], says: str) -> None:
    assert refusal(tmp_path, [row], fields=fields) == says


def test_students_need_a_test_split(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("request\nr\n")
    with pytest.raises(UsageError, match=r"small: students: .* one split only; add split: \{test: 0.1\}"):
        read_dataset(experiment(dataset=None, data=str(tmp_path / "rows.csv")))


ROWS: list[Row] = [
    {"request": f"r {number}", "topic": f"t{number % 20}", "level": number % 3} for number in range(400)
]


def requests(examples: Sequence[Example]) -> list[str]:
    return [example.request for example in examples]


def test_inserted_row_moves_no_other(tmp_path: Path) -> None:
    before = read(tmp_path, ROWS, split={"test": 0.2})
    after = read(tmp_path, [*ROWS[:7], {**ROWS[0], "request": "new"}, *ROWS[7:]], split={"test": 0.2})
    assert 50 < len(before[TEST]) < 110
    assert [example.row for example in after[TEST]] == list(range(len(after[TEST])))
    for split in (TRAIN, TEST):
        kept = [each for each in after[split] if each.request != "new"]
        assert [each.columns for each in kept] == [each.columns for each in before[split]]


def test_rows_without_a_request_are_told_apart_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question\n" + "".join(f"q {number}\n" for number in range(200)))
    rows = open_data(Data(path=str(path)), needs_request=False)[TRAIN]
    splits = split_rows("small", SplitRule(test=0.5), rows)
    assert all(70 < len(list(examples)) < 130 for examples in splits.values())


def test_every_row_is_in_one_split_and_its_number_is_its_place(tmp_path: Path) -> None:
    splits = read(tmp_path, ROWS, split={"test": 100})
    assert (len(splits[TRAIN]), len(splits[TEST])) == (300, 100)
    assert sorted(requests(splits[TRAIN] + splits[TEST])) == sorted(row["request"] for row in ROWS)
    for rows in splits.values():
        assert [example.question_id for example in rows] == [str(number) for number in range(len(rows))]


def test_rows_of_one_value_stay_together(tmp_path: Path) -> None:
    for test in (0.3, 100):
        splits = read(tmp_path, ROWS, split={"test": test, "by": "topic"})
        topics = {split: {row.columns["topic"] for row in rows} for split, rows in splits.items()}
        assert topics[TEST]
        assert not topics[TEST] & topics[TRAIN]
    assert len(splits[TEST]) == 100
    assert len(topics[TEST]) == 5


def test_equal_rows_stay_together(tmp_path: Path) -> None:
    splits = read(tmp_path, [row for row in ROWS for _ in range(2)], split={"test": 0.5})
    assert not set(requests(splits[TEST])) & set(requests(splits[TRAIN]))


def test_seed_chooses_other_rows(tmp_path: Path) -> None:
    chosen = [read(tmp_path, ROWS, split={"test": 0.2, "seed": seed})[TEST] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


@pytest.mark.parametrize(
    ("rows", "split", "says"),
    [
        (ROWS, {"test": 0.2, "by": "topics"}, "small: split.by: row 1 has no column 'topics'; did you mean "
                                              "topic? the columns are request, topic, level"),
        (ROWS[:3], {"test": 0.001}, "small: split.test: leaves no test row of 3; with so few rows give a "
                                    "number of rows, or another share or seed"),
        (ROWS[:3], {"test": 3}, "small: split.test: leaves no train row of 3; with so few rows give a "
                                "number of rows, or another share or seed"),
    ],
)  # fmt: skip
def test_split_that_cannot_be_made_is_refused(
    tmp_path: Path, rows: list[Row], split: dict[str, Any], says: str
) -> None:
    assert refusal(tmp_path, rows, split=split) == says


def test_split_of_the_data_is_not_divided_again(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("request\nr\n")
    config: Row = {"dataset": None, "data": str(tmp_path), "students": []}
    splits = read_dataset(experiment(**config))
    assert [len(list(splits[split])) for split in (TRAIN, TEST)] == [1, 1]
    with pytest.raises(ExperimentError, match="small: split: the data has a test split of its own"):
        read_dataset(experiment(**config, split={"test": 0.5}))


@pytest.mark.parametrize("test", [0, 1.0, 1.5, -1, 0.0, True, "0.1"])
def test_share_is_between_0_and_1_and_a_count_from_1(test: Any) -> None:
    with pytest.raises(ValueError, match="takes a share between 0 and 1, or a number of rows from 1"):
        SplitRule(test=test)


def test_data_is_a_path_or_a_mapping() -> None:
    assert Data.model_validate("rows.csv") == Data(path="rows.csv")
    assert Data.model_validate(Data(path="rows.csv", limit=3).model_dump()) == Data(path="rows.csv", limit=3)
