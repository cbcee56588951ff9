"""Where examples come from, as an experiment names it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from models.endpoints import Count, Section


def _file_or_mapping(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Split(Section):
    """Train examples feed the teacher, test examples judge the students."""

    file: str
    limit: Count | None = None


class Fields(Section):
    """Which key of a JSONL row holds what. `id` may be absent from a row; its number stands in. So may
    `tests` (code, or a list of it), `entry_point`, `prefix` and `suffix`, by which answers are executed."""

    request: str = "request"
    reference: str = "reference"
    id: str = "id"
    oracle: str = "oracle"
    tests: str = "tests"
    entry_point: str = "entry_point"
    prefix: str = "prefix"
    suffix: str = "suffix"


class Dataset(Section):
    """`tests` names ODEX files whose rows give their tests to the examples with the same request."""

    loader: Literal["jsonl", "docprompting", "odex"] = "jsonl"
    path: str
    train: Annotated[Split, BeforeValidator(_file_or_mapping)]
    test: Annotated[Split, BeforeValidator(_file_or_mapping)]
    limit: Count | None = None
    fields: Fields = Fields()
    tests: Annotated[list[str], BeforeValidator(listed)] = Field([])
