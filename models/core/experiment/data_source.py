"""Sections of an experiment: `data`, the file or dataset with its rows, and `split`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from models.core.experiment.endpoints import Count, StrictModel, Whole

FileFormat = Literal["csv", "tsv", "jsonl", "json", "parquet"]
HUB = "hf:"


class DataFields(StrictModel):
    """Columns that pipelines with references read; names may be dotted, such as `meta.level`.

    `request`, `reference` and `id` are the columns of these names where the data has them. The others are
    read only if they are set, but for the parts of `tests`.
    """

    request: str | None = None
    reference: str | None = None
    id: str | None = None
    oracle: str | None = None
    tests: str | None = None
    entry_point: str | None = None
    prefix: str | None = None
    suffix: str | None = None


class Data(StrictModel):
    """The source of rows: a file, a folder, or `hf:NAME[/CONFIG][?split=NAME]`. All of its columns are kept.

    `format` is needed where the ending of the file does not tell it. `limit` counts rows of each split.
    """

    path: Annotated[str, Field(min_length=1)]
    format: FileFormat | None = None
    encoding: str = "utf-8"
    limit: Count | None = None
    fields: DataFields = DataFields()

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
    """The choice of test rows by what stands in them: a row that comes or goes moves no other.

    `test` is their share, or their number from 1. Rows with the same value of column `by` stay together.
    """

    test: float | int
    by: str | None = None
    seed: Whole = 0

    @field_validator("test", mode="before")
    @classmethod
    def _is_a_share_or_a_count(cls, test: Any) -> Any:
        is_count = isinstance(test, int) and not isinstance(test, bool) and test >= 1
        if is_count or (isinstance(test, float) and 0 < test < 1):
            return test
        raise ValueError("takes a share between 0 and 1, or a number of rows from 1")
