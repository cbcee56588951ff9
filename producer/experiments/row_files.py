"""Read rows, with all of their columns, from CSV, JSON and parquet files, plain or gzipped.

Python's own readers do this, and pyarrow for parquet. `datasets` takes two seconds to import, as long as a
small job, and names no line. Cells of a CSV stay text: `007` is not 7, and `1.10` not 1.1.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from models.core.errors import DatasetError
from models.core.experiment.data_source import FileFormat
from storage.jsonl import parse_object

# A row's line in its file, or its number where rows are no lines, and its columns.
Row = tuple[int, dict[str, Any]]
FORMATS: tuple[str, ...] = get_args(FileFormat)
LONGEST_CELL = 2**31 - 1
PAGE = 1000


def format_of(path: Path) -> FileFormat | None:
    """Return the format that the file's ending tells, None if it tells none."""
    ending = Path(path.name.removesuffix(".gz")).suffix.removeprefix(".")
    return cast(FileFormat, ending) if ending in FORMATS else None


def read_rows(path: Path, encoding: str = "utf-8", file_format: FileFormat | None = None) -> Iterator[Row]:
    """Yield the rows of the file in bounded memory, but for `.json`. Raise DatasetError."""
    file_format = file_format or format_of(path)
    if encoding.lower().replace("_", "-") in {"utf-8", "utf8"}:
        encoding = "utf-8-sig"  # which also reads files without the mark that Excel writes
    if file_format in {"csv", "tsv"}:
        return _csv_rows(path, encoding, "," if file_format == "csv" else "\t")
    if file_format == "jsonl":
        return _json_lines(path, encoding)
    if file_format == "json":
        return _json_array(path, encoding)
    if file_format == "parquet":
        return _parquet_rows(path)
    known = ", ".join(f".{name}" for name in FORMATS)
    raise DatasetError(path, None, f"its ending is none of {known}; give it one, or set data.format")


def check_distinct(path: Path, names: Iterable[str], line: int | None = None) -> None:
    """Raise DatasetError if two columns have one name."""
    firsts: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        first = firsts.setdefault(name, number)
        if first != number:
            raise DatasetError(
                path, line, f"columns {first} and {number} are both named {name!r}; rename one of them"
            )


def _csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    lines = _lines(path, encoding, newline="")
    first = next(lines, "")
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"  # as spreadsheets write it where numbers have decimal commas
    reader = csv.reader(chain([first] if first else [], lines), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if names is None:
                names = _header(path, cells)
            elif len(cells) > len(names):
                problem = f"has {len(cells)} cells, and the header names {len(names)} columns"
                raise DatasetError(path, line, f"{problem}; put cells that hold a {delimiter!r} into quotes")
            elif cells:
                yield line, dict(zip_longest(names, cells, fillvalue=""))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(path, line, f"is no row of a {delimiter!r}-separated file: {error}") from None
    if names is None:
        raise DatasetError(path, None, "is empty; its first line must name the columns")


def _header(path: Path, cells: list[str]) -> list[str]:
    if not any(cell.strip() for cell in cells):
        raise DatasetError(path, 1, "has no header; the first line must name the columns")
    # Frames are often saved with a column of row numbers that has no name; pandas gives it this one.
    names = [cell.strip() or f"Unnamed: {index}" for index, cell in enumerate(cells)]
    check_distinct(path, names, 1)
    return names


def _json_lines(path: Path, encoding: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, encoding, newline="\n"), 1):
        if line.strip():
            yield number, parse_object(path, number, line)


def _json_array(path: Path, encoding: str) -> Iterator[Row]:
    text = "".join(_lines(path, encoding, newline="\n"))
    try:
        rows = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise DatasetError(path, error.lineno, f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(path, None, f"is not JSON that can be read: {error}") from None
    if not isinstance(rows, list):
        raise DatasetError(path, None, "must be a JSON array of rows; with a row in each line name it .jsonl")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DatasetError(path, None, f"row {number} must be an object, found {type(row).__name__}")
        yield number, row


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DatasetError(
            path, None, "reading parquet needs pyarrow; `pip install 'starmill[data]'`"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            check_distinct(path, file.schema_arrow.names)
            batches = file.iter_batches(batch_size=PAGE)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        problem = str(error).partition("\n")[0]
        raise DatasetError(path, None, f"is no parquet file that can be read: {problem}") from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path, encoding: str, newline: str) -> Iterator[str]:
    try:
        with _open(path) as binary, io.TextIOWrapper(binary, encoding=encoding, newline=newline) as text:
            yield from text
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except UnicodeError:
        raise _wrong_byte(path, encoding) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(path, None, f"not a whole gzip file: {error}") from None
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None


def _wrong_byte(path: Path, encoding: str) -> DatasetError:
    name = encoding.removesuffix("-sig")
    remedy = "save it as UTF-8, or set data.encoding to that of the file, such as cp1252 or utf-16"
    decoder = codecs.getincrementaldecoder(encoding)()
    number = 1
    with _open(path) as file:
        try:
            for line in file:
                number += decoder.decode(line).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            return DatasetError(path, number, f"byte 0x{byte:02x} is not {name}; {remedy}")
        except UnicodeError:
            pass
    return DatasetError(path, None, f"is not {name}; {remedy}")
