"""The formats of an export: rows in, one complete file or folder out, in bounded memory.

jsonl, csv, parquet   PATH is a file; with splits a folder of SPLIT.jsonl, SPLIT.csv or SPLIT.parquet
hf                    PATH is a folder of README.md and data/SPLIT-00000-of-00001.parquet
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from models.core.errors import UsageError
from producer.files import replacing_file, replacing_folder
from producer.results.export.columns import Tally
from producer.results.export.file_formats import FILES, OpenFile, inferred_file
from producer.results.export.inferred_columns import InferredColumns
from producer.results.export.selection import RowKind, RowSelection
from producer.results.export.splits import Layout, Splitter, shuffled
from producer.results.export.step_rows import step_columns
from storage.database import Database
from storage.ledger.queries import questions, request_bodies
from storage.ledger.runs import Run
from storage.passages import index_path
from storage.schema import TEST, TRAIN
from storage.settings import load_settings

Rows = Iterable[dict[str, Any]]
HF_SPLIT = "train"
# The splits of the dataset that rows of each kind come from.
SPLITS: Mapping[RowKind, tuple[str, ...]] = {
    "synthetic": (TRAIN,), "pairs": (TRAIN,), "answers": (TEST,), "failures": (TRAIN, TEST),
}  # fmt: skip


def write_rows(
    db: Database, run: Run, rows: Rows, path: Path, selection: RowSelection, layout: Layout
) -> Tally:
    """Write the rows as `selection.format`, all of them or none. Raise UsageError for an unusable `path`."""
    if layout.shuffle is not None:
        rows = shuffled(rows, layout.shuffle, path.parent)
    if not layout.splits and selection.format != "hf":
        with replacing_file(path) as temporary:
            return _write(run, rows, {"": temporary}, selection)
    names = {name: _file_name(name, selection.format) for name in layout.splits or [HF_SPLIT]}
    _refuse_others(path, list(names.values()))
    splitter = None
    if layout.splits:
        asked = {split: questions(db, run.id, split) for split in SPLITS[selection.what]}
        splitter = Splitter.of(layout.splits, layout.split_seed, asked)
    with replacing_folder(path) as temporary:
        files = {split: temporary / name for split, name in names.items()}
        next(iter(files.values())).parent.mkdir(exist_ok=True)
        tally = _write(run, rows, files, selection, splitter)
        if selection.format == "hf":
            card = _card(db, run, selection, layout, tally)
            (temporary / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return tally


def _file_name(split: str, format_: str) -> str:
    return f"data/{split}-00000-of-00001.parquet" if format_ == "hf" else f"{split}.{format_}"


def _write(
    run: Run,
    rows: Rows,
    files: Mapping[str, Path],
    selection: RowSelection,
    splitter: Splitter | None = None,
) -> Tally:
    tally = Tally()
    shape = selection.shape(run)
    open_file: OpenFile = partial(FILES[selection.format], shape=shape)
    if selection.has_columns_of_data(run):
        before = next(iter(step_columns(run))) if selection.what == "rows" else None
        columns = InferredColumns(shape, before)
        open_file = partial(inferred_file, format_=selection.format, columns=columns)
    with ExitStack() as stack:
        adds = {name: stack.enter_context(open_file(file)) for name, file in files.items()}
        only = next(iter(files))
        for row in rows:
            split = splitter.split_of(row["row"], row.get("split")) if splitter else only
            adds[split](row)
            tally.add(split, {} if selection.is_of_steps(run) else row)
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
    passages = run.experiment.passages
    from producer.corpus.attribution import read_attributions
    from producer.results.export.dataset_card import Card

    attributions = read_attributions(index_path(passages, load_settings().root)) if passages else ()
    return Card(run, selection, layout, tally, attributions, requests.get(tally.generation or "")).text()
