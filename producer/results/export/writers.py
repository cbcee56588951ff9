"""Rows as one Parquet file, written in batches.

The formats: rows in, one complete file or folder out, in bounded memory.

jsonl, parquet   PATH is a file; with splits a folder of SPLIT.jsonl or SPLIT.parquet
hf               PATH is a folder of README.md and data/SPLIT-00000-of-00001.parquet
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.core.errors import ServiceError, UsageError
from producer.corpus.attribution import read_attributions
from producer.files import replacing_file, replacing_folder
from producer.results.export.columns import Shape, Tally
from producer.results.export.dataset_card import Card
from producer.results.export.selection import RowKind, RowSelection
from producer.results.export.splits import Layout, shuffled
from storage.database import Database
from storage.ledger.queries import question_ids, request_bodies
from storage.ledger.runs import Run
from storage.passages.index_files import index_path
from storage.schema import TEST, TRAIN
from storage.settings import load_settings

if TYPE_CHECKING:
    from producer.results.export.splits import Splitter


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


Rows = Iterable[dict[str, Any]]
Add = Callable[[dict[str, Any]], None]
HF_SPLIT = "train"
# Of the dataset, by what is exported.
SPLITS: Mapping[RowKind, tuple[str, ...]] = {
    "synthetic": (TRAIN,), "answers": (TEST,), "failures": (TRAIN, TEST),
}  # fmt: skip


@contextmanager
def jsonl_file(path: Path, _shape: Shape) -> Iterator[Add]:
    """What is called with each row."""
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    with path.open("wb") as file:

        def add(row: dict[str, Any]) -> None:
            # Half a surrogate pair, which a model may emit, becomes the escape that JSON has for it.
            file.write(encode(row).encode("utf-8", "backslashreplace") + b"\n")

        yield add


FILES: Mapping[str, Callable[[Path, Shape], AbstractContextManager[Add]]] = {
    "jsonl": jsonl_file,
    "parquet": parquet_file,
    "hf": parquet_file,
}


def write_rows(
    db: Database, run: Run, rows: Rows, path: Path, selection: RowSelection, layout: Layout
) -> Tally:
    """The rows as `selection.format`, complete or not at all. Raises UsageError where `path` cannot be."""
    if layout.shuffle is not None:
        rows = shuffled(rows, layout.shuffle, path.parent)
    if not layout.splits and selection.format != "hf":
        with replacing_file(path) as temporary:
            return _write(rows, {"": temporary}, selection)
    names = list(layout.splits) or [HF_SPLIT]
    places = {name: _place(name, selection.format) for name in names}
    _refuse_others(path, list(places.values()))
    splitter = None
    if layout.splits:
        ids = question_ids(db, run.id, SPLITS[selection.what])
        from producer.results.export.splits import Splitter  # with numpy

        splitter = Splitter.of(layout.splits, layout.split_seed, ids)
    with replacing_folder(path) as temporary:
        files = {name: temporary / place for name, place in places.items()}
        next(iter(files.values())).parent.mkdir(exist_ok=True)
        tally = _write(rows, files, selection, splitter)
        if selection.format == "hf":
            card = _card(db, run, selection, layout, tally)
            (temporary / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return tally


def _place(split: str, format_: str) -> str:
    return f"data/{split}-00000-of-00001.parquet" if format_ == "hf" else f"{split}.{format_}"


def _write(
    rows: Rows, files: Mapping[str, Path], selection: RowSelection, splitter: Splitter | None = None
) -> Tally:
    tally = Tally()
    with ExitStack() as stack:
        open_file = FILES[selection.format]
        adds = {name: stack.enter_context(open_file(file, selection.shape)) for name, file in files.items()}
        only = next(iter(files))
        for row in rows:
            split = splitter.split_of(row["question_id"]) if splitter else only
            adds[split](row)
            tally.add(split, row)
    return tally


def _refuse_others(path: Path, places: list[str]) -> None:
    """What an earlier export with other splits left there would be loaded together with these rows."""
    folder = (path / places[0]).parent
    for file in sorted(folder.glob(f"*{Path(places[0]).suffix}")) if folder.is_dir() else ():
        if (place := file.relative_to(path).as_posix()) not in places:
            raise UsageError(f"-o {path}: holds {place}, which is not part of this export and would be "
                             "loaded with it; remove it, or name another folder")  # fmt: skip


def _card(db: Database, run: Run, selection: RowSelection, layout: Layout, tally: Tally) -> str:
    asked = request_bodies(db, [tally.generation]) if tally.generation else {}
    index = index_path(run.experiment.passages, load_settings().root)
    return Card(
        run, selection, layout, tally, read_attributions(index), asked.get(tally.generation or "")
    ).text()
