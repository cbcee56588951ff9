"""The formats: rows in, one complete file or folder out, in bounded memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from producer.documents.attribution import read_attributions
from producer.export.card import dataset_card
from producer.export.parquet import write_parquet
from producer.export.selection import Selection
from producer.files import replacing_file, replacing_folder
from storage.ledger.planning import Run
from storage.passages.naming import index_path
from storage.settings import load_settings

Rows = Iterable[dict[str, Any]]
Writer = Callable[[Path, Rows, Selection, Run], int]
HF_DATA = "data/train-00000-of-00001.parquet"


def write_jsonl(path: Path, rows: Rows, _selection: Selection, _run: Run) -> int:
    written = 0
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        for row in rows:
            # Half a surrogate pair, which a model may emit, becomes the escape that JSON has for it.
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            written += 1
    return written


def write_parquet_file(path: Path, rows: Rows, selection: Selection, _run: Run) -> int:
    with replacing_file(path) as temporary:
        return write_parquet(temporary, rows, selection.shape)


def write_hf(path: Path, rows: Rows, selection: Selection, run: Run) -> int:
    """A folder that `datasets.load_dataset` and the Hugging Face Hub understand."""
    groups: Counter[str] = Counter()
    with replacing_folder(path) as temporary:
        data = temporary / HF_DATA
        data.parent.mkdir()
        written = write_parquet(data, _counted(rows, groups), selection.shape)
        index = index_path(run.experiment.passages, load_settings().root)
        card = dataset_card(run, selection, written, groups, read_attributions(index))
        (temporary / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return written


def _counted(rows: Rows, groups: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        groups[row.get("source") or row.get("variant") or row.get("stage") or ""] += 1
        yield row


WRITERS: Mapping[str, Writer] = {"jsonl": write_jsonl, "parquet": write_parquet_file, "hf": write_hf}
