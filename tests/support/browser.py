"""A real browser without a window: Debian's chromium, spoken to in the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

PATIENCE = 60.0


@dataclass(frozen=True)
class Browser:
    """One session; `url` is that of the driver."""

    url: str

    def open(self, page: Path) -> None:
        self.visit(page.as_uri())

    def visit(self, url: str) -> None:
        self._post("url", {"url": url})

    def run(self, script: str) -> Any:
        """The value of a script's `return`."""
        return self._post("execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int = 844) -> None:
        """Emulate a device of this width, which may be narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def scheme(self, scheme: str) -> None:
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def screenshot(self) -> bytes:
        """PNG of the whole page."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def printed(self) -> bytes:
        """PDF of the page as it is printed."""
        return base64.b64decode(self.devtools("Page.printToPDF", printBackground=False)["data"])

    def complaints(self) -> list[str]:
        """Return the console's new messages: errors, and what the policy blocked."""
        return [entry["message"] for entry in self._post("se/log", {"type": "browser"})]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return post(f"{self.url}/{path}", body)


def post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as reply:
        return json.loads(reply.read())["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own. Without one the test fails on CI, and is skipped elsewhere."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        message = "no browser: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as profile, subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:  # fmt: skip
        try:
            yield from _session(f"http://127.0.0.1:{port}", chromium, profile)
        finally:
            process.terminate()


def _session(url: str, chromium: str, profile: str) -> Iterator[Browser]:
    _wait_for(url)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    options = {"binary": chromium, "args": flags}
    capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    session = post(f"{url}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
    address = f"{url}/session/{session}"
    try:
        yield Browser(address)
    finally:
        with urlopen(Request(address, method="DELETE"), timeout=PATIENCE):
            pass


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(f"{url}/status", timeout=PATIENCE):
                return
        except URLError:
            assert time.monotonic() < deadline, "the driver does not answer"
            time.sleep(0.05)
