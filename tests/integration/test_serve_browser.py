"""The run page in a real browser, while a real run goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.ledger import runs
from tests.openai_server.process import OpenAIServer
from tests.support.browser import Browser, browser
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import PATIENCE, Home, final_share, units, wait_until
from tests.support.serving import PASSWORD, RUN, Served, fill, served

pytestmark = pytest.mark.timeout(300)
TEXT = "return document.querySelector('#live').innerText"
WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = Home(tmp_path_factory.mktemp("page") / "home")
    with home.ledger() as db:
        fill(db)
    with served(home) as site:
        yield site


def log_in(page: Browser, site: Served, path: str = "/") -> None:
    page.visit(f"{site.url}{path}")
    assert page.run("return location.pathname") == "/login"
    enter(page, "not it")
    wait_until(lambda: "not the password" in page.run("return document.body.innerText"), "refused", 10)
    enter(page, PASSWORD)
    wait_until(lambda: page.run("return location.pathname") == path, "logged in", 10)
    page.complaints()


def enter(page: Browser, password: str) -> None:
    page.run(f"""
      document.querySelector('[name=password]').value = '{password}';
      document.querySelector('form.login button').click();""")


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_every_page_fits_the_screen_and_loads_from_nowhere_else(
    opened: Browser, site: Served, width: int
) -> None:
    if width == 360:
        log_in(opened, site, f"/runs/{RUN}")
        made = "return document.querySelector('#tables').innerText.includes('Synthetic set')"
        wait_until(lambda: opened.run(made), "tables", 60)
    opened.resize(width)
    for path in ("/", f"/runs/{RUN}", f"/runs/{RUN}/failures", f"/runs/{RUN}/rows", f"/runs/{RUN}/row?id=q1"):
        opened.visit(site.url + path)
        assert opened.run(WIDE) <= 0
        assert opened.complaints() == []
        assert opened.run("return window.broken") is None
        loaded = opened.run("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert loaded
        assert all(name.startswith(f"{site.url}/") for name in loaded)
        assert opened.run("return document.images.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_follows_the_systems_colour_scheme(opened: Browser, site: Served, scheme: str) -> None:
    opened.scheme(scheme)
    opened.visit(site.url)
    paper = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_report_is_shut_off_from_the_page(opened: Browser, site: Served) -> None:
    opened.visit(f"{site.url}/runs/{RUN}/report")
    assert opened.run("return window.origin") == "null"
    assert opened.run("return document.querySelector('output').value").endswith("rows")
    assert opened.complaints() == []


def test_a_run_that_goes_on_is_followed_to_its_end(
    opened: Browser, openai_server: OpenAIServer, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    openai_server.configure(latency_ms=4000)
    data = write_data(tmp_path / "data", train=8, test=6)
    experiment = write_experiment(data, openai_server.url, name="followed")
    with home.started("run", experiment, "--local") as process, home.ledger() as db, served(home) as site:
        wait_until(lambda: final_share(units(db)) > 0.05, "the run goes on")
        run = runs.list_runs(db)[0].id
        log_in(opened, site, f"/runs/{run}")
        opened.resize(390)
        # No page is loaded anew from here on.
        opened.run("window.same = true")
        seen = set()

        def finished() -> bool:
            text = opened.run(TEXT)
            seen.add(tuple(re.findall(r"([\d,]+) of [\d,]+ units", text)))
            limits = "in flight" in text and "Limits" in text
            if limits:
                seen.add(("limits",))
            if len(seen) > 3:  # it was followed: now it may end
                openai_server.configure()
            return "finished" in text.splitlines()[0]

        wait_until(finished, "the page shows the end", PATIENCE)
        assert process.wait(PATIENCE) == 0
        assert len(seen) > 3
        assert ("limits",) in seen
        assert opened.run("return window.same") is True
        assert opened.complaints() == []
        status = home.json("status", run)
        [final] = re.findall(r"([\d,]+) of ([\d,]+) units", opened.run(TEXT))
        assert [int(number.replace(",", "")) for number in final] == [status["planned"], status["planned"]]


def test_a_page_says_when_the_server_is_gone_and_leads_to_the_login_when_it_is_back(
    opened: Browser, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with home.ledger() as db:
        fill(db, rows=2)
    with served(home) as site:
        log_in(opened, site)
        port = site.port
    time.sleep(0.1)
    gone = "return getComputedStyle(document.getElementById('lost')).display === 'block'"
    wait_until(lambda: opened.run(gone), "the page says so", 30)
    with served(home, "--port", str(port)):
        wait_until(lambda: opened.run("return location.pathname") == "/login", "asked to log in", 60)
