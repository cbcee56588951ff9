"""Photograph Flower and the run page while a run goes on, and its report at the end."""

from __future__ import annotations

import base64
import re
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from storage.ledger import runs
from tests.support.browser import Browser, browser
from tests.support.pipeline import Home, final_share, units, wait_until
from tests.support.serving import PASSWORD, Served, served

WIDTHS = {"run-page.png": 1100, "flower.png": 1300, "report.png": 1100}
# Pixels of the picture for each of the page: text stays sharp on dense screens.
DENSITY = 1.5
FLOWER = re.compile(r"Flower: (http://127\.0\.0\.1:\d+)")
PATIENCE = 1800.0
FEW_TASKS = 6


def make_screenshots(home: Home, experiment: str, folder: Path) -> None:
    """Run an experiment with Flower in a home, and write `run-page.png`, `flower.png` and `report.png`."""
    with browser() as page:
        with home.started("run", experiment, "--local") as process, served(home) as site:
            lines = _lines_of(process)

            def goes_on(condition: Callable[[], Any]) -> Callable[[], Any]:
                def holds() -> Any:
                    assert process.poll() is None, "".join(lines)
                    return condition()

                return holds

            flower = wait_until(goes_on(lambda: FLOWER.search("".join(lines))), "Flower", PATIENCE)[1]
            tasks = flower.replace("://", f"://starmill:{PASSWORD}@") + "/tasks"
            wait_until(goes_on(lambda: _has_rows(page, tasks)), "Flower has tasks", PATIENCE)
            _write(page, folder / "flower.png", 600)
            with home.ledger() as db:
                run = runs.list_runs(db)[0].id
                wait_until(goes_on(lambda: final_share(units(db)) > 0.5), "half of the run", PATIENCE)
            _log_in(page, site, f"/runs/{run}")
            _write(page, folder / "run-page.png", 730)
            wait_until(lambda: process.poll() is not None, "the run has ended", PATIENCE)
        report = home.path / "report.html"
        home.starmill("report", run, "--format", "html", "-o", report)
        page.open(report)
        _write(page, folder / "report.png", 700)


def _has_rows(page: Browser, tasks: str) -> bool:
    """Load Flower's page of tasks, once it listens, and tell whether they fill the picture."""
    shown = "return document.querySelectorAll('#tasks-table tbody tr').length"
    with suppress(HTTPError, AssertionError):
        page.visit(tasks)
        return bool(wait_until(lambda: page.run(shown) >= FEW_TASKS, "rows", 5))
    return False


def _lines_of(process: subprocess.Popen[str]) -> list[str]:
    """Return the lines of standard error; the list grows. Standard output is read as well, and dropped."""
    lines: list[str] = []
    assert process.stderr is not None
    assert process.stdout is not None
    for stream, taken in ((process.stderr, lines), (process.stdout, [])):
        threading.Thread(target=taken.extend, args=(iter(stream.readline, ""),), daemon=True).start()
    return lines


def _log_in(page: Browser, site: Served, path: str) -> None:
    page.visit(f"{site.url}{path}")
    page.run(f"""
      document.querySelector('[name=password]').value = '{PASSWORD}';
      document.querySelector('form.login button').click();""")
    wait_until(lambda: page.run("return location.pathname") == path, "logged in")
    wait_until(lambda: "rows" in page.run("return document.body.innerText"), "the page has content")


def _write(page: Browser, path: Path, height: int) -> None:
    """Write what a window of this height shows."""
    page.scheme("light")
    page.devtools("Emulation.setScrollbarsHidden", hidden=True)
    metrics = {"width": WIDTHS[path.name], "height": height, "deviceScaleFactor": DENSITY, "mobile": False}
    page.devtools("Emulation.setDeviceMetricsOverride", **metrics)
    shot = page.devtools("Page.captureScreenshot", format="png")
    path.write_bytes(base64.b64decode(shot["data"]))
