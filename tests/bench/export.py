"""python -m tests.bench.export: what a million exported rows cost, and whether they are always the same.

The ledger is written directly in SQL (`tests.bench.planting`); each export is a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.database import Database
from tests.bench.planting import RUN, plant
from tests.support.services import running_postgres

STARMILL = Path(sys.executable).with_name("starmill")
SPLIT = "train=0.9,validation=0.1"
WAYS: dict[str, list[str]] = {
    "jsonl": [],
    "pairs": ["--what", "pairs"],
    "chat": ["--style", "chat", "--only", "accepted"],
    "shuffled": ["--shuffle", "7", "--split", SPLIT],
    "parquet": ["--format", "parquet"],
    "hf": ["--format", "hf", "--shuffle", "7", "--split", SPLIT],
}


@dataclass(frozen=True)
class Export:
    """`checksum` is of all that was written; sizes are in MB of 1,000,000 bytes."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    size_mb: float
    checksum: str


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.export", description=__doc__)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"{', '.join(WAYS)}; default: all")
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--postgres", action="store_true", help="a ledger in PostgreSQL, not in SQLite")
    parser.add_argument("--times", type=int, default=2, help="how often each is written (default: 2)")
    parser.add_argument("--folder", type=Path, help="where; a ledger that lies there already is used again")
    options = parser.parse_args(arguments)
    if unknown := [way for way in options.ways if way not in WAYS]:
        parser.error(f"no way {unknown[0]!r}; there are {', '.join(WAYS)}")
    with ExitStack() as stack:
        made = options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-export-"))
        folder = Path(made)
        url = stack.enter_context(_ledger(folder, options.rows, options.postgres))
        _say("| export | rows | s | CPU s | peak MB | size MB | the same each time |")
        _say("|---|---:|---:|---:|---:|---:|---|")
        for way in options.ways or WAYS:
            exports = [export(url, folder, WAYS[way]) for _ in range(options.times)]
            _say(_row(way, options.rows, exports))


@contextmanager
def _ledger(folder: Path, rows: int, in_postgres: bool) -> Iterator[str]:
    with ExitStack() as stack:
        if in_postgres:
            server = stack.enter_context(running_postgres())
            url = stack.enter_context(server.new_database())
        else:
            url = f"sqlite:///{folder / 'planted.db'}"
        if in_postgres or not (folder / "planted.db").exists():
            started = time.perf_counter()
            db = Database(url)
            db.migrate()
            plant(db, rows)
            db.close()
            sys.stderr.write(f"planted {rows:,} rows in {time.perf_counter() - started:.0f} s\n")
        yield url


def export(url: str, folder: Path, options: Sequence[str]) -> Export:
    """Written once, by a process of its own, measured, and removed."""
    target = folder / "exported"
    environment = {
        "PATH": os.environ["PATH"], "STARMILL_HOME": str(folder), "STARMILL_DATABASE_URL": url,
    }  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(STARMILL), "export", RUN, "-o", str(target), *options],
        env=environment, cwd=folder, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    stderr = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"the export ended with {process.returncode}: {stderr}")
    size, checksum = _checksum(target)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    return Export(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, size / 1e6, checksum)


def _checksum(path: Path) -> tuple[int, str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest, size = hashlib.sha256(), 0
    for file in files:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    size += len(block)
                    digest.update(block)
    return size, digest.hexdigest()


def _row(way: str, rows: int, exports: Sequence[Export]) -> str:
    best = min(exports, key=lambda each: each.seconds)
    sums = {each.checksum for each in exports}
    same = f"yes, {exports[0].checksum[:12]}" if len(sums) == 1 else "NO"
    peak = max(each.peak_mb for each in exports)
    return (
        f"| {way} | {rows:,} | {best.seconds:,.0f} | {best.cpu_seconds:,.0f} | {peak:,.0f} | "
        f"{best.size_mb:,.0f} | {same if len(exports) > 1 else exports[0].checksum[:12]} |"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
