"""The rows of a run on its page: the newest first, and each with its whole history."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from storage.database import Database
from storage.ledger.queries import ResultRow, iter_rows
from storage.schema import DONE, FAILED
from tests.support.pipeline import Home
from tests.support.serving import HOSTILE, PASSWORD, RUN, Served, fill, served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    created = Home(tmp_path_factory.mktemp("rows") / "home")
    with created.ledger() as db:
        fill(db)
    return created


@pytest.fixture(scope="module")
def site(home: Home) -> Iterator[Served]:
    with served(home) as site:
        yield site


def test_newest_rows_are_filtered_by_step_and_verdict(site: Served, home: Home) -> None:
    for step, verdict in (("judge", "right"), ("judge", "wrong"), ("answer", "failed"), ("", "failed")):
        path, ids = f"/runs/{RUN}/rows?step={step}&verdict={verdict}", list[str]()
        while path:
            page = site.ask(path, password=PASSWORD).text
            articles = re.findall(r'<article class="result">.*?</article>', page, re.DOTALL)
            assert all(f">{verdict}</span>" in each for each in articles)
            ids += re.findall(rf'href="/runs/{RUN}/row\?id=([^"]*)"', page)
            match = re.search(r'rel="next" href="([^"]*)"', page)
            path = f"/runs/{RUN}/rows{match.group(1).replace('&amp;', '&')}" if match else ""
            assert HOSTILE not in page
        with home.ledger() as db:
            assert len(ids) == number_of(db, step, verdict) > 0
    assert "No row is like this yet" in site.ask(f"/runs/{RUN}/rows?step=nothing", password=PASSWORD).text


def number_of(db: Database, step: str, verdict: str) -> int:
    """Count units in the ledger itself."""
    units = [unit for unit in finished(db) if step in ("", unit.stage)]
    if verdict == "failed":
        return sum(unit.state == FAILED for unit in units)
    return sum(unit.state == DONE and unit.result["exact_match"] == (verdict == "right") for unit in units)


def finished(db: Database) -> list[ResultRow]:
    return list(iter_rows(db, RUN, stages=None, states=(DONE, FAILED)))


def test_a_row_shows_its_whole_history(site: Served, home: Home) -> None:
    page = site.ask(f"/runs/{RUN}", password=PASSWORD).text
    [latest] = re.findall(r'<section id="latest">.*?</section>', page, re.DOTALL)
    links = re.findall(r'href="(/runs/[^"]*/row\?id=[^"]*)"', latest)
    assert len(links) == 5
    row = site.ask(links[0], password=PASSWORD)
    history = home.json("show", RUN, links[0].rpartition("=")[2])
    assert row.status == 200
    assert row.text.count('<article class="unit">') == sum(len(each["units"]) for each in history["rows"])
    assert HOSTILE not in row.text
    assert history["rows"][-1]["request"] in unescape(row.text)
