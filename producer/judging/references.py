"""Right answers that stand in a file of their own."""

from __future__ import annotations

from pathlib import Path

from models.errors import DatasetError
from producer.datasets.reading import json_rows
from producer.judging.fields import key_field, text_field
from storage.jsonl import read_objects


class References:
    """`{"question_id", "reference"}` lines, or a JSON array of DocPrompting's rows (`cmd`); of several
    references of an id the last counts. Raises DatasetError with file, line and reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json_rows(path) if path.suffix == ".json" else read_objects(path)
        self._of = {
            key_field(path, number, row): text_field(path, number, row, "reference", "cmd")
            for number, row in rows
        }

    def of(self, key: str, path: Path, line: int) -> str:
        """For the row with this id, which stands in `path`. Raises DatasetError."""
        if key not in self._of:
            raise DatasetError(path, line, f"question_id {key} has no reference in {self._path}")
        return self._of[key]
