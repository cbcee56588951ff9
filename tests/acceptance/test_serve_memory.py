"""The run page's process stays as small beside a ledger of twice the size, while many watch."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.database import Database
from storage.schema import TEST, TRAIN
from tests.support.ledger_data import NOW, LedgerRun, example
from tests.support.pipeline import Home
from tests.support.serving import PASSWORD, Served, served

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]
UNITS_AN_EXAMPLE, VIEWERS, SECONDS = 4, 20, 45.0
# Of ten units six are done, one of fifty failed after an answer that was not accepted.
STATEMENTS = """
  UPDATE unit SET state = 'done', attempts = 1, finished_at = :now + id / 1000.0,
    generation = 'g' || id, result = json('{"text": "The answer is sorted(x)", "correct": true}')
    WHERE split = 'train' AND id % 10 < 6;
  UPDATE unit SET state = 'failed', reason = 'reason_' || (id % 7), detail = 'no code', finished_at = :now
    WHERE split = 'train' AND id % 50 = 9;
  INSERT INTO generation (key, run_id, unit_id, stage, model, done, answer, prompt_tokens, cached_tokens,
      completion_tokens, cost_nano_usd, seconds, created_at)
    SELECT 'g' || id, run_id, id, stage, 'm', 1, 'The answer is sorted(x)', 300, 0, 60, 1000, 0.5, :now
    FROM unit WHERE state = 'done';
  INSERT INTO rejection (run_id, unit_id, stage, attempt, reason, detail, created_at)
    SELECT run_id, id, stage, 1, 'null', '', :now FROM unit WHERE state = 'failed'"""


def test_memory_does_not_grow_with_the_ledger(tmp_path: Path) -> None:
    """Prints what it measured; run with -s."""
    sizes = [100_000, 200_000]
    small, large = (_measure(Home(tmp_path / str(size)), size) for size in sizes)
    assert large < 1.2 * small


def _measure(home: Home, units: int) -> float:
    """The largest resident set in MB."""
    with home.ledger() as db:
        _fill(db, units)
        with served(home) as site:
            idle = _megabytes(site, "VmRSS")
            began, cpu = time.monotonic(), _cpu_seconds(site)
            _watch(site, db)
            seconds = time.monotonic() - began
            most, now, spent = _megabytes(site, "VmHWM"), _megabytes(site, "VmRSS"), _cpu_seconds(site) - cpu
            took = site.ask("/metrics", bearer=PASSWORD).text
    [counting] = re.findall(r"^starmill_reading_duration_seconds\{.*\} (.*)$", took, re.MULTILINE)
    share = 100 * spent / seconds
    print(f"{units:,} units: {idle:.0f} MB at start, {now:.0f} at the end, {most:.0f} at most; one count "
          f"{float(counting):.2f} s; {share:.0f} % of a processor, {VIEWERS} viewers")  # fmt: skip
    return most


def _fill(db: Database, units: int) -> None:
    train = [example(row) for row in range(units // UNITS_AN_EXAMPLE)]
    LedgerRun.plan(db, train, [example(0)], "large-1")
    with db.write() as connection:
        for statement in STATEMENTS.split(";"):
            connection.execute(text(statement), {"now": NOW} if ":now" in statement else {})
        counted = connection.execute(
            text("SELECT split, count(*) FROM unit GROUP BY split ORDER BY split")
        ).all()
    assert {TEST, TRAIN} == {split for split, _ in counted}
    assert sum(number for _, number in counted) == pytest.approx(units, rel=0.01)


def _watch(site: Served, db: Database) -> None:
    """Streams, failures and scrapes, while units go on to end."""
    ends = time.monotonic() + SECONDS
    failed: list[BaseException] = []

    def view(number: int) -> None:
        try:
            while time.monotonic() < ends:
                site.events("/runs/large-1/events" if number % 4 else "/events", 2)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that can fail a test)
            failed.append(error)

    viewers = [threading.Thread(target=view, args=[number]) for number in range(VIEWERS)]
    for viewer in viewers:
        viewer.start()
    page = 0
    while time.monotonic() < ends:
        page += 1
        assert site.ask("/metrics", bearer=PASSWORD).status == 200
        listed = site.ask(
            f"/runs/large-1/failures?reason=reason_{page % 7}&after={page * 500}", password=PASSWORD
        )
        assert listed.status == 200
        with db.write() as connection:
            ready = "SELECT id FROM unit WHERE state IN ('ready', 'waiting') LIMIT 50"
            connection.execute(
                text(f"UPDATE unit SET state = 'done', finished_at = :now WHERE id IN ({ready})"),
                {"now": time.time()},
            )
        time.sleep(0.5)
    for viewer in viewers:
        viewer.join()
    assert not failed, failed[0]


def _megabytes(site: Served, field: str) -> float:
    lines = Path(f"/proc/{site.process.pid}/status").read_text().splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kibibytes) * 1024 / 1e6


def _cpu_seconds(site: Served) -> float:
    fields = Path(f"/proc/{site.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
