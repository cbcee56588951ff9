"""The plan of a run, its preview and its rows: values that the Python API returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import RenderableType

from models.core.display import visible_values
from models.core.types import JSON
from producer.results.export.selection import RowSelection, select_rows
from producer.safe_console import console_of
from storage.database import Database
from storage.ledger.runs import Run

if TYPE_CHECKING:
    import datasets
    import pandas


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of an experiment by split, and its units by step. `run` is the run that there is already."""

    name: str
    rows: dict[str, int]
    steps: dict[str, int]
    run: str | None

    @property
    def units(self) -> int:
        return sum(self.steps.values())

    def __str__(self) -> str:
        rows = ", ".join(f"{number:,} {split}" for split, number in self.rows.items())
        steps = ", ".join(f"{step} {number:,}" for step, number in self.steps.items())
        return f"{self.name}: rows {rows}; {self.units:,} units: {steps}"


class Results:
    """The rows of a run as dicts: the columns of the data, and those that the steps added.

    They are read from the ledger in each iteration, in the order of the data. Rows of the pipeline `star` are
    the synthetic ones. `run` is the name of the run; `failed` counts its failed units.
    """

    def __init__(self, database: str, run: Run, failed: int) -> None:
        self.run = run.id
        self.failed = failed
        self._database = database
        self._run = run

    def __iter__(self) -> Iterator[JSON]:
        selection = RowSelection("rows" if self._run.experiment.steps else "synthetic")
        with closing(Database(self._database)) as db:
            yield from select_rows(db, self._run, selection)

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        failed = f", {self.failed:,} units failed" if self.failed else ""
        return f"<Results of run {self.run}: {len(self):,} rows{failed}>"

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a frame of pandas."""
        import pandas

        return pandas.DataFrame(list(self))

    def to_dataset(self) -> datasets.Dataset:
        """Return the rows as a `Dataset` of the library `datasets`. A column of values of several types has
        its type `Json`."""
        import datasets

        rows = list(self)
        # The library takes the columns of the first row for those of all.
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        return datasets.Dataset.from_dict(columns, on_mixed_types="use_json")


class Preview:
    """The first rows of an experiment: dicts with the units of each row, whole messages and answers.

    As text, it is what `starmill show` prints of these rows. `run` is the name of their run; `failed` counts
    its failed units.
    """

    def __init__(self, run: str, failed: int, documents: list[JSON]) -> None:
        self.run = run
        self.failed = failed
        self._documents = documents

    @classmethod
    def read(cls, db: Database, run: Run, failed: int, question_ids: Iterable[str]) -> Preview:
        # With numpy, which a run need not wait for.
        from producer.results.history import history_document
        from storage.ledger.history import example_histories

        histories = (example_histories(db, run.id, each) for each in dict.fromkeys(question_ids))
        return cls(run.id, failed, [history_document(run, each) for each in histories if each])

    def __iter__(self) -> Iterator[JSON]:
        for document in self._documents:
            yield from document["rows"]

    def __len__(self) -> int:
        return sum(len(document["rows"]) for document in self._documents)

    def lines(self, wrap: bool = False) -> Iterator[RenderableType]:
        from producer.results.history_text import history_lines

        for document in self._documents:
            yield from history_lines(visible_values(document), wrap=wrap)

    def __str__(self) -> str:
        text = StringIO()
        out = console_of(text)
        for line in self.lines():
            out.print(line)
        return text.getvalue()

    __repr__ = __str__
