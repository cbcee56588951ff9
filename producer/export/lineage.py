"""What an exported row says of where it comes from, beyond what its unit stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from itertools import islice
from typing import Any, TypeVar

from models.types import JSON
from storage.ledger.rows import Row

# So many rows are looked up together.
AT_ONCE = 100
T = TypeVar("T")


def unit_name(unit: Row) -> str:
    """`train/17/rationalize/pass-1/0`: split, row, stage, variant and sample; the same in every run."""
    return "/".join(map(str, (unit.split, unit.number, unit.stage, unit.variant, unit.sample)))


def prompt_sha256(body: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of the prompt or the messages that a model was sent, whichever model it was, hexadecimal.
    None where nothing was asked."""
    if body is None:
        return None
    words = body["prompt"] if "prompt" in body else body["messages"]
    text = json.dumps(words, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def starmill_version() -> str:
    return version("starmill")


def in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, AT_ONCE)):
        yield batch


def prompt_text(body: JSON) -> str:
    """The words of a request as one text, each message under its role."""
    if "prompt" in body:
        return str(body["prompt"])
    return "\n\n".join(f"[{said['role']}]\n{said['content']}" for said in body["messages"])
