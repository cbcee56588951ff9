"""The formats: rows in, one complete file or folder out, in bounded memory.

jsonl, parquet   PATH is a file; with splits a folder of SPLIT.jsonl or SPLIT.parquet
hf               PATH is a folder of README.md and data/SPLIT-00000-of-00001.parquet
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from producer.documents.attribution import read_attributions
from producer.export.card import Card
from producer.export.layout import Layout
from producer.export.parquet import parquet_file
from producer.export.selection import Selection, What
from producer.export.shapes import Shape
from producer.export.shuffling import shuffled
from producer.export.tally import Tally
from producer.files import replacing_file, replacing_folder
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import bodies, question_ids
from storage.passages.naming import index_path
from storage.schema import TEST, TRAIN
from storage.settings import load_settings

if TYPE_CHECKING:
    from producer.export.splitting import Splitter

Rows = Iterable[dict[str, Any]]
Add = Callable[[dict[str, Any]], None]
HF_SPLIT = "train"
# Of the dataset, by what is exported.
SPLITS: Mapping[What, tuple[str, ...]] = {
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


def write_rows(db: Database, run: Run, rows: Rows, path: Path, selection: Selection, layout: Layout) -> Tally:
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
        from producer.export.splitting import Splitter  # with numpy

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
    rows: Rows, files: Mapping[str, Path], selection: Selection, splitter: Splitter | None = None
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


def _card(db: Database, run: Run, selection: Selection, layout: Layout, tally: Tally) -> str:
    asked = bodies(db, [tally.generation]) if tally.generation else {}
    index = index_path(run.experiment.passages, load_settings().root)
    return Card(
        run, selection, layout, tally, read_attributions(index), asked.get(tally.generation or "")
    ).text()
