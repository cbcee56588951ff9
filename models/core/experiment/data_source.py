"""Sections of an experiment: `data`, the file or dataset with its rows, and `split`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from models.core.experiment.endpoints import Count, StrictModel, Whole

FileFormat = Literal["csv", "tsv", "jsonl", "json", "parquet"]
HUB = "hf:"


class DataFields(StrictModel):
    """Columns that pipelines with references read. A dotted name reaches into a value: `meta.level`."""

    request: str | None = None
    """the request; left out: the column of that name"""
    reference: str | None = None
    """the right answer, a text, number or truth value; left out: the column of that name"""
    id: str | None = None
    """the id; `12-3` and `12-4` are phrasings of question `12`; left out: the column of that name"""
    oracle: str | None = None
    """a list of ids of the right passages"""
    tests: str | None = None
    """tests of the answer: code, or a list of it"""
    entry_point: str | None = None
    """the function that tests call"""
    prefix: str | None = None
    """code before the answer"""
    suffix: str | None = None
    """code after the answer"""


class Data(StrictModel):
    """The source of rows. All of its columns are kept, and steps see them by name."""

    path: Annotated[str, Field(min_length=1)]
    """a file, a folder, or `hf:NAME[/CONFIG][?split=NAME]`"""
    format: FileFormat | None = None
    """the format, where the ending of the file does not tell it"""
    encoding: str = "utf-8"
    """the encoding of a text file"""
    limit: Count | None = None
    """rows of each split that are read"""
    fields: DataFields = DataFields()
    """the columns with a meaning of their own"""

    @model_validator(mode="before")
    @classmethod
    def _path_or_mapping(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError("takes an encoding of texts, such as utf-8, cp1252 or utf-16") from None
        return encoding


class SplitRule(StrictModel):
    """The choice of test rows by what stands in them: a row that comes or goes moves no other."""

    test: float | int
    """the share of test rows (`0.1`), or their number (`100`)"""
    by: str | None = None
    """a column whose equal values keep rows in one split"""
    seed: Whole = 0
    """another seed chooses other rows"""

    @field_validator("test", mode="before")
    @classmethod
    def _is_a_share_or_a_count(cls, test: Any) -> Any:
        is_count = isinstance(test, int) and not isinstance(test, bool) and test >= 1
        if is_count or (isinstance(test, float) and 0 < test < 1):
            return test
        raise ValueError("takes a share between 0 and 1, or a number of rows from 1")
