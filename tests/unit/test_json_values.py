"""Rows of a program, be they dicts, a frame or a dataset, become one file of JSON lines."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from models.core.errors import UsageError
from producer.experiments.json_values import save_rows

ROWS = [{"question": "é 😀", "answer": 42, "share": 0.5}, {"question": "b", "answer": -1, "share": None}]


def saved(rows: Any, folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in save_rows(rows, folder).read_text(encoding="utf-8").splitlines()]


def test_equal_rows_of_any_kind_make_the_same_file(tmp_path: Path) -> None:
    kinds = [ROWS, iter(ROWS), tuple(ROWS), pd.DataFrame(ROWS), datasets.Dataset.from_list(ROWS)]
    paths = {save_rows(rows, tmp_path / "data") for rows in kinds}
    assert len(paths) == 1
    assert list((tmp_path / "data").iterdir()) == list(paths)
    assert saved(ROWS, tmp_path) == ROWS
    assert save_rows(ROWS[:1], tmp_path / "data") not in paths


def test_values_of_frames_become_json(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    frame = pd.DataFrame({
        "time": [moment, None], "whole": pd.array([1, None], dtype="Int64"),
        7: [np.int64(1), np.float32(0.5)], "vector": [np.array([1, 2]), np.array([0.5])],
        "kind": pd.Categorical(["a", None]), "wait": [datetime.timedelta(seconds=90), None],
        "price": [Decimal("3.10"), None],
    }, dtype=object)  # fmt: skip
    assert saved(frame, tmp_path) == [
        {"time": "2026-01-02T03:04:05", "whole": 1, "7": 1, "vector": [1, 2], "kind": "a", "wait": "0:01:30",
         "price": "3.10"},
        {"time": None, "whole": None, "7": 0.5, "vector": [0.5], "kind": None, "wait": None, "price": None},
    ]  # fmt: skip


class Thing:
    """A value that is no JSON."""


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "rows: there are none"),
        ([{"a": 1}, [2]], "rows: row 2 must be a dict, found list"),
        ([{"a": {"b": [b"x"]}}], "rows: row 1: column 'a' holds bytes, which JSON cannot"),
        ([{"a": Thing()}], "rows: row 1: column 'a' holds a value of type Thing, which JSON cannot"),
        ([{"a": float("inf")}], "rows: row 1: column 'a' holds an infinite number, which JSON cannot"),
        ([{"a": 1, 5: 1, "5": 2}], "rows: row 1: two columns are named '5'; rename one of them"),
        ({"a": 1}, "rows: must be a list of dicts, a frame or a dataset, found dict; pass one, as [row]"),
        (
            datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}),
            "rows: must be a list of dicts, a frame or a dataset, found DatasetDict; pass one, such as "
            "rows['train']",
        ),
        ("rows.csv", "rows: must be a list of dicts, a frame or a dataset, found str"),
        (7, "rows: must be a list of dicts, a frame or a dataset, found int"),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "rows: two columns of the frame are named 'a'; rename one of them",
        ),
    ],
)
def test_what_is_no_rows_is_refused(tmp_path: Path, rows: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        save_rows(rows, tmp_path)
    assert str(error.value).startswith(says)
    assert list(tmp_path.iterdir()) == []
