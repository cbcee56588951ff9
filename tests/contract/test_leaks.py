"""The search for secrets finds them in every kind of file and value."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import forms, leaking_files, redis_values, tells

SECRET = "sk-Marked_Key-0123456789>>>???abcdef"
ANYTHING = st.binary(max_size=12)


@given(ANYTHING, ANYTHING)
def test_secret_is_found_in_base64(before: bytes, after: bytes) -> None:
    whole = before + SECRET.encode() + after
    for text in (whole, base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
        assert tells(b"x" + text + b"x", [SECRET])


@given(st.text(max_size=200))
def test_secret_is_not_found_in_other_text(text: str) -> None:
    assert not tells(text, [SECRET])
    assert min(len(form) for form in forms(SECRET)) >= len(SECRET)


def test_secret_is_found_in_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "clean.txt").write_text("nothing")
    (tmp_path / "worker.log").write_bytes(b"\xff Traceback: " + SECRET.encode())
    (tmp_path / "message.json").write_text(
        json.dumps({"body": base64.b64encode(f'[["{SECRET}"]]'.encode()).decode()})
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f"{SECRET}.txt").touch()
    packed = tmp_path / "rows.parquet"
    rows = pyarrow.Table.from_pylist([{"text": f"{number} {SECRET}"} for number in range(2000)])
    pyarrow.parquet.write_table(rows, packed, compression="gzip", write_statistics=False)
    broken = next(path for path in ledgers(tmp_path) if SECRET.encode() not in path.read_bytes())
    for path in (packed, broken):
        assert not tells(path.read_bytes(), [SECRET])
    assert leaking_files(tmp_path, [SECRET]) == [
        f"deep/{SECRET}.txt", "ledger.db", "message.json", "rows.parquet", "worker.log",
    ]  # fmt: skip
    assert leaking_files(tmp_path, ["another-key"]) == []


def ledgers(folder: Path) -> Iterator[Path]:
    """A database whose only text holds the secret, each time at another place of its pages."""
    path = folder / "ledger.db"
    for before in range(0, 1200, 8):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA page_size = 512")
            db.execute("CREATE TABLE answer (text)")
            db.execute("INSERT INTO answer VALUES (?)", ["." * before + SECRET + "." * (1200 - before)])
            db.commit()
        yield path


@pytest.mark.parametrize("kind", ["key", "string", "list", "hash", "set", "sorted set", "stream"])
def test_secret_is_found_in_every_kind_of_redis_value(kind: str, redis_url: str) -> None:
    long = "sorted " * 200 + base64.b64encode(f"x{SECRET}".encode()).decode() + " sorted" * 200
    with redis.Redis.from_url(redis_url) as client:
        client.set("clean", "nothing" * 100)
        assert not any(tells(value, [SECRET]) for value in redis_values(client))
        if kind == "key":
            client.set(SECRET, "nothing")
        elif kind == "string":
            client.set("a", long)
        elif kind == "list":
            client.rpush("a", "b", long)
        elif kind == "hash":
            client.hset("a", "b", long)
        elif kind == "set":
            client.sadd("a", "b", long)
        elif kind == "sorted set":
            client.zadd("a", {long: 1.0})
        else:
            client.xadd("a", {"b": long})
        assert any(tells(value, [SECRET]) for value in redis_values(client))
