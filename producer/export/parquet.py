"""Rows as one Parquet file, written in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import ServiceError
from producer.export.shapes import Shape

BATCH = 1000
_ALIASES = {str: "string", int: "int64", float: "double", bool: "bool"}


@contextmanager
def parquet_file(path: Path, shape: Shape) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What is called with each row. Raises ServiceError where pyarrow is missing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ServiceError("Parquet needs pyarrow: pip install 'starmill[export]'") from None
    schema = pyarrow.schema(list(_arrow(pyarrow, shape)))
    batch: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write() -> None:
            writer.write_table(pyarrow.Table.from_pylist([_storable(row) for row in batch], schema))
            batch.clear()

        def add(row: dict[str, Any]) -> None:
            batch.append(row)
            if len(batch) == BATCH:
                write()

        yield add
        if batch:
            write()


def _arrow(pyarrow: Any, shape: Any) -> Any:
    """The Arrow type of a shape; a mapping becomes a struct."""
    if isinstance(shape, dict):
        return pyarrow.struct([pyarrow.field(name, _arrow(pyarrow, part)) for name, part in shape.items()])
    if isinstance(shape, list):
        return pyarrow.list_(_arrow(pyarrow, shape[0]))
    return pyarrow.type_for_alias(_ALIASES[shape])


def _storable(value: Any) -> Any:
    """Arrow's strings are UTF-8, which has no place for half a surrogate pair."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    return [_storable(part) for part in value] if isinstance(value, list) else value
