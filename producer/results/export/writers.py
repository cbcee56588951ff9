"""The formats of an export: rows in, one complete file or folder out, in bounded memory.

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
from storage.ledger.queries import questions, request_bodies
from storage.ledger.runs import Run
from storage.passages import index_path
from storage.schema import TEST, TRAIN
from storage.settings import load_settings

if TYPE_CHECKING:
    from producer.results.export.splits import Splitter


BATCH = 1000
_ALIASES = {str: "string", int: "int64", float: "double", bool: "bool"}


@contextmanager
def parquet_file(path: Path, shape: Shape) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a Parquet file, and return a function that adds a row. Raise ServiceError without pyarrow."""
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


Rows = Iterable[dict[str, Any]]
Add = Callable[[dict[str, Any]], None]
HF_SPLIT = "train"
# The splits of the dataset that rows of each kind come from.
SPLITS: Mapping[RowKind, tuple[str, ...]] = {
    "synthetic": (TRAIN,), "answers": (TEST,), "failures": (TRAIN, TEST),
}  # fmt: skip


@contextmanager
def jsonl_file(path: Path, _shape: Shape) -> Iterator[Add]:
    """Open a file of JSON lines, and return a function that adds a row."""
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    with path.open("wb") as file:

        def add(row: dict[str, Any]) -> None:
            # A lone surrogate, which a model may emit, becomes its JSON escape.
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
    """Write the rows as `selection.format`, all of them or none. Raise UsageError for an unusable `path`."""
    if layout.shuffle is not None:
        rows = shuffled(rows, layout.shuffle, path.parent)
    if not layout.splits and selection.format != "hf":
        with replacing_file(path) as temporary:
            return _write(rows, {"": temporary}, selection)
    names = {name: _file_name(name, selection.format) for name in layout.splits or [HF_SPLIT]}
    _refuse_others(path, list(names.values()))
    splitter = None
    if layout.splits:
        from producer.results.export.splits import Splitter  # with numpy

        asked = {split: questions(db, run.id, split) for split in SPLITS[selection.what]}
        splitter = Splitter.of(layout.splits, layout.split_seed, asked)
    with replacing_folder(path) as temporary:
        files = {split: temporary / name for split, name in names.items()}
        next(iter(files.values())).parent.mkdir(exist_ok=True)
        tally = _write(rows, files, selection, splitter)
        if selection.format == "hf":
            card = _card(db, run, selection, layout, tally)
            (temporary / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return tally


def _file_name(split: str, format_: str) -> str:
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
            split = splitter.split_of(row["row"], row.get("split")) if splitter else only
            adds[split](row)
            tally.add(split, row)
    return tally


def _refuse_others(path: Path, names: list[str]) -> None:
    """Raise UsageError if a file of an earlier export with other splits would be loaded with these rows."""
    folder = (path / names[0]).parent
    for file in sorted(folder.glob(f"*{Path(names[0]).suffix}")) if folder.is_dir() else ():
        if (name := file.relative_to(path).as_posix()) not in names:
            raise UsageError(f"-o {path}: holds {name}, which is not part of this export and would be "
                             "loaded with it; remove it, or name another folder")  # fmt: skip


def _card(db: Database, run: Run, selection: RowSelection, layout: Layout, tally: Tally) -> str:
    requests = request_bodies(db, [tally.generation]) if tally.generation else {}
    index = index_path(run.experiment.passages, load_settings().root)
    attributions = read_attributions(index)
    return Card(run, selection, layout, tally, attributions, requests.get(tally.generation or "")).text()
