"""Source, version and licence notice of the documentation that passages come from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError
from storage.jsonl import read_json

FILE_NAME = "attribution.json"


@dataclass(frozen=True, slots=True)
class Attribution:
    """`notice` is the text that the licence wants shown. Fields that the documentation lacks are empty."""

    documentation: str
    version: str
    notice: str
    url: str

    def __str__(self) -> str:
        title = self.documentation
        if not title.endswith(self.version):
            title = f"{title} {self.version}"
        return " ".join(filter(None, (f"{title}:", self.notice, self.url)))


def read_notices_beside(path: Path) -> Iterator[Attribution]:
    """Yield the notices in `attribution.json` (documentation -> notice) beside `path`, if it exists."""
    file = path.parent / FILE_NAME
    if file.is_file():
        for name, notice in read_mapping(file).items():
            if not isinstance(notice, str):
                raise DatasetError(file, None, f"{name} needs a string, found {type(notice).__name__}")
            yield Attribution(name, name.partition("~")[2], " ".join(notice.split()), "")


def write_attributions(folder: Path, attributions: Sequence[Attribution]) -> None:
    """Replace `attribution.json` in `folder` as a whole."""
    rows = {"documentations": [asdict(attribution) for attribution in attributions]}
    draft = folder / f".{FILE_NAME}.{os.getpid()}"
    draft.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / FILE_NAME)


def read_attributions(folder: Path) -> list[Attribution]:
    """Read the file of `write_attributions`; return [] without it. Raises DatasetError."""
    file = folder / FILE_NAME
    if not file.is_file():
        return []
    try:
        return [Attribution(**row) for row in read_mapping(file)["documentations"]]
    except (KeyError, TypeError):
        raise DatasetError(file, None, "is damaged; build the index again") from None


def read_mapping(path: Path) -> Mapping[str, Any]:
    """Read a file with one JSON object. Raises DatasetError."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DatasetError(path, None, f"must be a JSON object, found {type(value).__name__}")
    return value
