"""Read the rows of an experiment: its section `data`, or the train and test files of `dataset`, which are
DocPrompting's JSON, ODEX, or any JSONL with a field map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError, ExperimentError
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import Dataset, Fields, Split
from models.core.prompts.templates import compile_template
from models.core.types import Example
from producer.experiments.answer_tests import OdexTests, answer_tests, odex_tests
from producer.experiments.data_rows import columns_of, open_data
from producer.experiments.json_values import storable
from producer.experiments.row_files import Row, read_rows
from producer.experiments.splitting import split_rows
from storage.jsonl import read_objects
from storage.schema import TEST, TRAIN

DOCPROMPTING = Fields(request="nl", reference="cmd", id="question_id", oracle="oracle_man")
ODEX = Fields(request="intent", reference="canonical_solution", id="task_id")


def read_dataset(experiment: Experiment) -> dict[str, Iterable[Example]]:
    """Return the rows by split. Each iteration reads the data: memory does not grow with the rows.

    Raise DatasetError with file, line and reason; for a row, when it is reached. Raise ExperimentError for a
    split that cannot be made.
    """
    if experiment.dataset:
        return _split_files(experiment.dataset, _names_columns(experiment))
    assert experiment.data is not None
    splits: dict[str, Iterable[Example]] = {**open_data(experiment.data, not experiment.steps)}
    if rule := experiment.split:
        if TEST in splits:
            problem = "the data has a test split of its own; leave the section split out"
            raise ExperimentError(experiment.name, "split", problem)
        splits = split_rows(experiment.name, rule, splits[TRAIN])
    if experiment.students and TEST not in splits:
        problem = "students answer test rows, and the data has one split only"
        raise ExperimentError(experiment.name, "students", f"{problem}; add split: {{test: 0.1}}")
    return {TEST: (), **splits}


def _names_columns(experiment: Experiment) -> bool:
    """Return whether the pipeline may read columns. Earlier releases had none, and their data no columns."""
    prompts = experiment.task.prompts.model_dump() if experiment.task else {}
    sources = ((name, source) for name, source in prompts.items() if source)
    return bool(experiment.steps) or any(compile_template(*each).columns for each in sources)


def _split_files(dataset: Dataset, with_columns: bool) -> dict[str, Iterable[Example]]:
    folder = Path(dataset.path)
    if not folder.is_dir():
        raise DatasetError(folder, None, "no such folder; set dataset.path to the folder of the data")
    tests = OdexTests(folder / name for name in dataset.tests)
    return {
        TRAIN: DatasetRows(dataset, dataset.train, tests, with_columns),
        TEST: DatasetRows(dataset, dataset.test, tests, with_columns) if dataset.test else (),
    }


class DatasetRows(Iterable[Example]):
    """The examples of one split, in the order of its file."""

    def __init__(self, dataset: Dataset, split: Split, tests: OdexTests, with_columns: bool) -> None:
        self._dataset = dataset
        self._with_columns = with_columns
        self._tests = tests
        self._path = Path(dataset.path) / split.file
        self._limit = min((given for given in (split.limit, dataset.limit) if given), default=None)

    def __iter__(self) -> Iterator[Example]:
        if self._dataset.loader == "docprompting":
            rows, fields = read_rows(self._path, file_format="json"), DOCPROMPTING
        elif self._dataset.loader == "odex":
            rows, fields = read_objects(self._path), ODEX
        else:
            rows, fields = read_objects(self._path), self._dataset.fields
        examples = _examples(self._path, rows, fields, self._with_columns)
        first = next(examples, None)
        if first is None:
            raise DatasetError(self._path, None, "holds no examples")
        for example in islice(chain([first], examples), self._limit):
            tests = example.tests or self._tests.find(example)
            yield replace(example, tests=tests) if tests else example


def _examples(path: Path, rows: Iterable[Row], fields: Fields, with_columns: bool) -> Iterator[Example]:
    for row, (line, values) in enumerate(rows):
        request = _text(path, line, values, fields.request)
        reference = _text(path, line, values, fields.reference)
        oracle = values.get(fields.oracle) or []
        if not isinstance(oracle, list):
            raise DatasetError(path, line, f"{fields.oracle!r} must be a list of passage ids")
        name = values.get(fields.id)
        question_id = storable(str(row if name is None else name))
        yield Example(
            row, question_id, request, reference, tuple(storable(str(passage)) for passage in oracle),
            odex_tests(path, line, values) if fields is ODEX else answer_tests(path, line, values, fields),
            name is not None, columns_of(path, line, values) if with_columns else {},
        )  # fmt: skip


def _text(path: Path, line: int, values: dict[str, Any], field: str) -> str:
    if field not in values:
        raise DatasetError(path, line, f"has no {field!r}; map the names with dataset.fields")
    value = values[field]
    text = storable(value) if isinstance(value, str) else ""
    if not text.strip():
        raise DatasetError(path, line, f"{field!r} must be a text that is not empty")
    return text
