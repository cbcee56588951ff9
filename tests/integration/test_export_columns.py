"""Columns of the data in exported rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyarrow.parquet import read_table

from models.core.types import Example
from storage.database import Database
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    LedgerRun,
    example,
    finish_train,
)


def test_rows_of_data_carry_its_other_columns(db: Database, tmp_path: Path) -> None:
    def with_columns(row: int) -> Example:
        return replace(example(row), columns={"request": "not this one", "level": row, "tags": {"a": [row]}})

    run = LedgerRun.plan(db, [with_columns(row) for row in range(5)], [], dataset=None, data="rows.csv")
    finish_train(run)
    for format_, read in (("jsonl", read_jsonl), ("parquet", lambda path: read_table(path).to_pylist())):
        path = tmp_path / f"rows.{format_}"
        assert starmill("export", "small", "-o", str(path)) == 0
        written = read(path)
        assert [(row["request"], row["level"], row["tags"]) for row in written] == [
            (f"sort {row['row']}", row["row"], {"a": [row["row"]]}) for row in written
        ]
        assert list(written[0])[-3:] == ["provenance", "level", "tags"]


def test_files_of_all_splits_have_the_same_columns(db: Database, tmp_path: Path) -> None:
    def mixed(row: int) -> Example:
        return replace(example(row), columns={"level": "hard" if row == 3 else row} if row != 2 else {})

    run = LedgerRun.plan(db, [mixed(row) for row in range(5)], [], dataset=None, data="rows.csv")
    finish_train(run)
    options = ("--split", "a=0.5,b=0.5", "--format", "parquet")
    assert starmill("export", "small", "-o", str(tmp_path / "split"), *options) == 0
    first, second = (read_table(tmp_path / "split" / f"{name}.parquet") for name in "ab")
    assert first.schema == second.schema
    assert str(first.schema.field("level").type) == "string"
