"""The files that exports write, row by row: JSON lines, CSV and Parquet.

Rows of unforeseen columns are written with types that are inferred from all of their values.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from models.core.errors import ServiceError
from models.core.types import JSON
from producer.results.export.columns import Shape
from producer.results.export.inferred_columns import InferredColumns

BATCH = 1000
Add = Callable[[JSON], None]
OpenFile = Callable[..., AbstractContextManager[Add]]
# The shape `object` is any JSON value, which a file without such a type holds as its text.
_ALIASES = {str: "string", int: "int64", float: "double", bool: "bool", object: "string"}
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


@contextmanager
def jsonl_file(path: Path, shape: Shape) -> Iterator[Add]:
    """Open a file of JSON lines, whatever their shape, and return a function that adds a row."""
    del shape
    with path.open("wb") as file:

        def add(row: JSON) -> None:
            # A lone surrogate, which a model may emit, becomes its JSON escape.
            file.write(_encode(row).encode("utf-8", "backslashreplace") + b"\n")

        yield add


@contextmanager
def csv_file(path: Path, shape: Shape) -> Iterator[Add]:
    """Open a CSV file with a line of names. Lists and objects are JSON texts, a null is nothing."""
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(shape)

        def add(row: JSON) -> None:
            writer.writerow([_cell(row.get(name)) for name in shape])

        yield add


def _cell(value: Any) -> Any:
    return _encode(value) if isinstance(value, bool | list | dict) else value


@contextmanager
def parquet_file(path: Path, shape: Shape) -> Iterator[Add]:
    """Open a Parquet file, and return a function that adds a row. Raise ServiceError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ServiceError("Parquet needs pyarrow: pip install 'starmill[export]'") from None
    schema = pyarrow.schema(list(_arrow(pyarrow, shape)))
    texts = [name for name, part in shape.items() if part is object]
    batch: list[JSON] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write() -> None:
            writer.write_table(pyarrow.Table.from_pylist([_storable(row) for row in batch], schema))
            batch.clear()

        def add(row: JSON) -> None:
            as_texts = {name: _encode(row[name]) for name in texts if row.get(name) is not None}
            batch.append({**row, **as_texts})
            if len(batch) == BATCH:
                write()

        yield add
        if batch:
            write()


def _arrow(pyarrow: Any, shape: Any) -> Any:
    """Return the Arrow type of a shape; a mapping becomes a struct."""
    if isinstance(shape, dict):
        return pyarrow.struct([pyarrow.field(name, _arrow(pyarrow, part)) for name, part in shape.items()])
    if isinstance(shape, list):
        return pyarrow.list_(_arrow(pyarrow, shape[0]))
    return pyarrow.type_for_alias(_ALIASES[shape])


def _storable(value: Any) -> Any:
    """Replace lone surrogates, which Arrow's UTF-8 strings cannot hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    return [_storable(part) for part in value] if isinstance(value, list) else value


FILES: Mapping[str, OpenFile] = {
    "jsonl": jsonl_file,
    "csv": csv_file,
    "parquet": parquet_file,
    "hf": parquet_file,
}


@contextmanager
def inferred_file(path: Path, format_: str, columns: InferredColumns) -> Iterator[Add]:
    """Open a file whose rows tell its columns. They wait in a temporary file until it is closed, so that
    several files that are closed together have the same `columns`."""
    if format_ == "jsonl":
        with jsonl_file(path, {}) as add:
            yield add
        return
    with TemporaryFile(dir=path.parent) as spool:

        def add_later(row: JSON) -> None:
            columns.add(row)
            spool.write(json.dumps(row).encode() + b"\n")

        yield add_later
        spool.seek(0)
        with FILES[format_](path, shape=columns.shape()) as add:
            for line in spool:
                add(json.loads(line))
