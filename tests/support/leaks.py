"""Search for secrets in files, databases, archives and Redis."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import redis


def forms(secret: str) -> set[bytes]:
    """The secret as it is, and as it looks inside any text that was turned into base64."""
    plain = secret.encode()
    encodings = {plain}
    for before in range(3):
        whole = base64.b64encode(bytes(before) + plain)
        # Characters at the ends also hold bits of what stands beside the secret.
        inner = whole[math.ceil(before * 8 / 6) : (before + len(plain)) * 8 // 6]
        encodings |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return encodings


def tells(text: str | bytes, secrets: Iterable[str]) -> bool:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return any(form in data for secret in secrets for form in forms(secret))


def leaking_files(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Files below the folder, by name or content."""
    wanted = list(secrets)
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if tells(str(path.relative_to(folder)), wanted)
        or (path.is_file() and any(tells(part, wanted) for part in contents(path)))
    )


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file; and what only its reader sees, such as a text that is packed, or lies on two
    pages of a database."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(b"SQLite format 3\0"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            yield "\n".join(db.iterdump()).encode("utf-8", "surrogatepass")
    if raw.startswith(b"PAR1"):
        table = pyarrow.parquet.read_table(path)
        yield json.dumps([table.to_pylist(), str(table.schema.metadata)]).encode()


def redis_values(client: redis.Redis) -> set[bytes]:
    """Every key of every database that holds one, and its value as `DUMP` gives it."""
    client.config_set("rdbcompression", "no")  # a packed value could hide what it holds
    values: set[bytes] = set()
    for key in client.scan_iter(count=1000):
        # It may be gone by now.
        values |= {bytes(key), client.dump(key) or b""}
    return values
