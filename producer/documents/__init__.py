"""Where passages come from: each source is a generator of `models.types.Passage`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.errors import UsageError
from models.retrieval.settings import Passages
from models.types import Passage
from producer.documents import devdocs, sphinx
from producer.documents.attribution import Attribution, beside
from producer.documents.distributions import versions
from producer.documents.installed import installed
from producer.documents.jsonl import jsonl

# In characters. Encoders read the first 256 tokens, prompts show a paragraph, and Milvus stores at most
# 65,536 bytes of JSON with a vector.
TEXT_LIMIT = 4_000
FIELD_LIMIT = 1_000


def read_passages(config: Passages) -> Iterator[Passage]:
    """The passages that `config` names, cleaned, each content once.

    Raises DatasetError for a malformed file, UsageError for a package that cannot be imported and where
    there is no passage at all.
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
            return installed(config.packages)
        case "jsonl":
            return jsonl(path)
        case "devdocs":
            return devdocs.devdocs(path)
        case "sphinx":
            return sphinx.sphinx(path)


def attributions(config: Passages) -> list[Attribution]:
    """Version and notice of every documentation that `config` names, sorted. Errors as in `read_passages`."""
    path = Path(config.path or "")
    match config.source:
        case "installed":
            found = versions(config.packages)
        case "jsonl":
            found = beside(path)
        case "devdocs":
            found = map(devdocs.attribution, devdocs.documentations(path))
        case "sphinx":
            found = sphinx.attributions(path)
    return sorted(found, key=lambda attribution: attribution.documentation)


def clean(passage: Passage) -> Passage:
    """`passage` as databases accept it: no null characters, no lone surrogates, no endless fields."""
    return Passage(
        id=_clean(passage.id, FIELD_LIMIT),
        name=_clean(passage.name, FIELD_LIMIT),
        signature=_clean(passage.signature, FIELD_LIMIT),
        text=_clean(passage.text, TEXT_LIMIT),
        library=_clean(passage.library, FIELD_LIMIT),
    )


def _clean(text: str, limit: int) -> str:
    return text.replace("\0", "")[:limit].encode(errors="replace").decode()
