"""Read passages from the source that an experiment names; each source yields `models.core.types.Passage`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from models.core.errors import DatasetError, UsageError
from models.core.experiment.passages import Passages
from models.core.types import Passage
from producer.corpus import devdocs, sphinx
from producer.corpus.attribution import Attribution, read_notices_beside
from producer.corpus.installed import read_installed, versions


def read_jsonl_passages(path: Path) -> Iterator[Passage]:
    """Yield a passage per line of `{"id", "name", "signature", "text"}`; other keys are ignored.

    `id` and `text` are required; a missing `name` is the id. The library is the part of the id before its
    first dot. A path that ends in `.gz` is read as gzip. Raises DatasetError with path, line and reason.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _passage(path, number, line)
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file; check passages.path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(path, number + 1, f"cannot be read: {error}") from None


def _passage(path: Path, number: int, line: bytes) -> Passage:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DatasetError(path, number, "not UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(path, number, f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DatasetError(path, number, f"needs an object, found {type(row).__name__}")
    for key in ("id", "text"):
        if key not in row:
            raise DatasetError(path, number, f"{key} is missing")
    fields = {"name": row["id"], "signature": ""} | row
    for key in ("id", "name", "signature", "text"):
        if not isinstance(fields[key], str):
            raise DatasetError(path, number, f"{key} needs a string, found {type(fields[key]).__name__}")
    if not fields["id"].replace("\0", "").strip():
        raise DatasetError(path, number, "id is empty")
    library = fields["id"].partition(".")[0]
    return Passage(fields["id"], fields["name"], fields["signature"], fields["text"], library)


# In characters. Encoders read the first 256 tokens, prompts show a paragraph, and Milvus stores at most
# 65,536 bytes of JSON with a vector.
TEXT_LIMIT = 4_000
FIELD_LIMIT = 1_000


def read_passages(config: Passages) -> Iterator[Passage]:
    """Yield the passages that `config` names, cleaned, each content once.

    Raises DatasetError for a malformed file, UsageError for a package that cannot be imported and if there is
    no passage at all.
    """
    seen: set[str] = set()
    for passage in map(clean, _source(config)):
        if passage.key not in seen:
            seen.add(passage.key)
            yield passage
    if not seen:
        where = ", ".join(config.packages) if config.source == "installed" else config.path
        raise UsageError(f"passages: {where} holds no documentation; name another file or package")


def _source(config: Passages) -> Iterator[Passage]:
    path = Path(config.path or "")
    match config.source:
        case "installed":
            return read_installed(config.packages)
        case "jsonl":
            return read_jsonl_passages(path)
        case "devdocs":
            return devdocs.read_devdocs(path)
        case "sphinx":
            return sphinx.read_sphinx(path)


def attributions(config: Passages) -> list[Attribution]:
    """Return version and notice of every documentation that `config` names, sorted. Raises DatasetError."""
    path = Path(config.path or "")
    match config.source:
        case "installed":
            rows = versions(config.packages)
        case "jsonl":
            rows = read_notices_beside(path)
        case "devdocs":
            rows = map(devdocs.attribution, devdocs.find_documentations(path))
        case "sphinx":
            rows = sphinx.attributions(path)
    return sorted(rows, key=lambda attribution: attribution.documentation)


def clean(passage: Passage) -> Passage:
    """Return the passage as databases accept it: no null characters, lone surrogates or endless fields."""
    return Passage(
        id=_clean(passage.id, FIELD_LIMIT),
        name=_clean(passage.name, FIELD_LIMIT),
        signature=_clean(passage.signature, FIELD_LIMIT),
        text=_clean(passage.text, TEXT_LIMIT),
        library=_clean(passage.library, FIELD_LIMIT),
    )


def _clean(text: str, limit: int) -> str:
    return text.replace("\0", "")[:limit].encode(errors="replace").decode()
