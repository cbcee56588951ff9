"""Read the rows of an experiment's section `data`: every column, and what pipelines with references need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError
from models.core.experiment.data_source import HUB, Data
from models.core.experiment.options import Fields
from models.core.near_names import nearest_column
from models.core.row_values import look_up, text_of
from models.core.types import Example
from producer.experiments.answer_tests import answer_tests
from producer.experiments.json_values import json_row
from producer.experiments.row_files import FORMATS, Row, read_rows
from producer.experiments.saved_datasets import is_saved, open_hub, open_saved
from storage.schema import TEST, TRAIN

# Splits of which the first that there is becomes the test split.
TEST_NAMES = ("test", "validation", "valid", "dev")
# Fields that are read without being set, from columns of these names.
BY_NAME = ("request", "reference", "id")
PARTS_OF_TESTS = ("entry_point", "prefix", "suffix")
_SPLIT_FILE = re.compile(
    rf"(train|{'|'.join(TEST_NAMES)})(-\d+-of-\d+)?\.(?:{'|'.join(FORMATS)})(?:\.gz)?", re.ASCII
)

Part = tuple[object, Iterable[Row]]


def open_data(data: Data, needs_request: bool) -> dict[str, DataRows]:
    """Return the rows by split, `train` alone if the data has one split. Each iteration reads the data.

    With `needs_request`, each row must have one. Raise DatasetError; for a row, when it is reached.
    """
    splits = _splits(data)
    train = "train" if len(splits) > 1 else next(iter(splits))
    if train not in splits:
        how = "with ?split=NAME" if data.path.startswith(HUB) else f"as {data.path}/NAME"
        problem = f"has splits {', '.join(sorted(splits))}, and none is train; name one of them"
        raise DatasetError(data.path, None, f"{problem} {how}")
    test = next((name for name in TEST_NAMES if name in splits and name != train), None)
    chosen = {TRAIN: train} | ({TEST: test} if test else {})
    return {split: DataRows(data, splits[name], needs_request) for split, name in chosen.items()}


def columns_of(path: object, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return all columns of a row. Raise DatasetError for a value that is no JSON."""
    try:
        return json_row(row)
    except ValueError as error:
        raise DatasetError(path, line, str(error)) from None


def _splits(data: Data) -> Mapping[str, Sequence[Part]]:
    if data.path.startswith(HUB):
        return {name: [(data.path, rows)] for name, rows in open_hub(data.path).items()}
    path = Path(data.path)
    if not path.is_dir():
        return {"train": [(path, FileRows(path, data))]}
    if is_saved(path):
        return {name: [(path, rows)] for name, rows in open_saved(path).items()}
    return _split_files(path, data)


def _split_files(folder: Path, data: Data) -> Mapping[str, Sequence[Part]]:
    """Return the files `train.csv`, `test-00000-of-00002.parquet` and so on of a folder by split."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if named := _SPLIT_FILE.fullmatch(path.name):
            files.setdefault(named[1], []).append(path)
    if not files:
        raise DatasetError(folder, None, "is no folder that `datasets` has saved, and has no file such as "
                           "train.csv or train.jsonl; name the file")  # fmt: skip
    for split, paths in files.items():
        if len(paths) > 1 and not all("-of-" in path.name for path in paths):
            names = " and ".join(path.name for path in paths)
            raise DatasetError(folder, None, f"has {names} for split {split}; name one file as the data")
    return {split: [(path, FileRows(path, data)) for path in paths] for split, paths in files.items()}


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of one file, read again in each iteration."""

    path: Path
    data: Data

    def __iter__(self) -> Iterator[Row]:
        # The files of a folder tell their formats by their endings.
        file_format = self.data.format if str(self.path) == self.data.path else None
        return read_rows(self.path, self.data.encoding, file_format)


class DataRows(Iterable[Example]):
    """The rows of one split with all of their columns."""

    def __init__(self, data: Data, parts: Sequence[Part], needs_request: bool) -> None:
        self._data = data
        self._parts = parts
        self._set = data.fields.model_dump(exclude_none=True)
        self._needs_request = needs_request

    def __iter__(self) -> Iterator[Example]:
        unseen = dict(self._set)
        names: dict[str, None] = {}
        row = -1
        for row, (path, line, columns) in enumerate(islice(self._rows(), self._data.limit)):
            names.update(dict.fromkeys(columns))
            yield self._example(path, row, line, columns, unseen)
        path = self._parts[0][0]
        if row < 0:
            raise DatasetError(path, None, "holds no rows")
        for field, name in unseen.items():
            problem = f"no row has {name!r}, which data.fields.{field} names"
            raise DatasetError(path, None, f"{problem}; {nearest_column(name, list(names))}")

    def _rows(self) -> Iterator[tuple[object, int, dict[str, Any]]]:
        for path, rows in self._parts:
            for line, columns in rows:
                yield path, line, columns_of(path, line, columns)

    def _example(
        self, path: object, row: int, line: int, columns: dict[str, Any], unseen: dict[str, str]
    ) -> Example:
        values: dict[str, Any] = {}
        for field, name in self._names().items():
            try:
                values[field] = look_up(columns, name)
            except KeyError:
                continue
            unseen.pop(field, None)
        request = self._text(path, line, "request", values)
        if not request.strip() and (self._needs_request or "request" in self._set):
            raise DatasetError(path, line, self._no_request(values, columns))
        oracle = values.get("oracle") or []
        if not isinstance(oracle, list):
            raise DatasetError(path, line, f"{self._set['oracle']!r} must be a list of passage ids")
        question_id = self._text(path, line, "id", values)
        return Example(
            row, question_id or str(row), request, self._text(path, line, "reference", values),
            tuple(str(passage) for passage in oracle), answer_tests(path, line, values, Fields()),
            bool(question_id), columns,
        )  # fmt: skip

    def _names(self) -> dict[str, str]:
        by_name = (*BY_NAME, *(PARTS_OF_TESTS if "tests" in self._set else ()))
        return {**{name: name for name in by_name}, **self._set}

    def _text(self, path: object, line: int, field: str, values: Mapping[str, Any]) -> str:
        text = text_of(values.get(field))
        if text is None and field in self._set:
            kind = type(values[field]).__name__
            raise DatasetError(path, line, f"{self._set[field]!r} must be a text or a number, found {kind}")
        return text or ""

    def _no_request(self, values: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
        name = self._names()["request"]
        if "request" in values:
            return f"{name!r} must be a text that is not empty"
        where = "data.fields.request names" if "request" in self._set else "the pipeline needs"
        remedy = "" if "request" in self._set else "name another by data.fields.request; "
        return f"has no column {name!r}, which {where}; {remedy}{nearest_column(name, list(columns))}"
