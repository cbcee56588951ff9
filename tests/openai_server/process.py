"""Model servers as processes of their own, for fixtures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.openai_server.behaviour import Behaviour

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class OpenAIServer:
    """A running test server; `url` ends in /v1."""

    url: str

    def configure(self, **settings: Any) -> None:
        """Sets these and puts all others back to their defaults."""
        self._call("POST", "/configure", asdict(Behaviour()) | settings)

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "/stats")

    def totals(self) -> dict[str, Any]:
        """`stats` without the calls one by one."""
        return self._call("GET", "/totals")

    def forget(self) -> None:
        self._call("DELETE", "/stats")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextlib.contextmanager
def running(*arguments: str, inside: Sequence[str] = ()) -> Iterator[OpenAIServer]:
    with process_that_prints_its_url("tests.openai_server", *arguments, inside=inside) as url:
        yield OpenAIServer(url)


@contextlib.contextmanager
def process_that_prints_its_url(module: str, *arguments: str, inside: Sequence[str] = ()) -> Iterator[str]:
    """`python -m module`, which prints `{"url": ...}` when it is ready; stopped at the end. `inside` are
    words that put it elsewhere, such as `ip netns exec HOST`."""
    command = [*inside, sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} ended with {process.wait()}")
            yield json.loads(line)["url"]
        finally:
            process.terminate()
