"""The gateway as a process of its own, and what its tests ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models.adapters.backends.gateway_client import FORGET, GatewayClient
from models.core.errors import ModelError
from models.core.types import Message, Request
from tests.openai_server.calls import ask
from tests.openai_server.process import REPOSITORY

KEY = "sk-a-key-that-nobody-may-see"
GATEWAY_TOKEN = "a-token-that-nobody-may-see"
QUESTION = Request("any", "some-model", (Message("user", "sort a list"),))
PROMPT = Request("any", "some-model", prompt="sort a list")
OTHER = replace(QUESTION, messages=(Message("user", "reverse a list in place"),))
COMMAND = [sys.executable, "-m", "worker.gateway"]


@dataclass(frozen=True)
class GatewayProcess:
    """A running gateway."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def setting(self) -> str:
        return self.url.replace("http://", f"http://:{GATEWAY_TOKEN}@")

    def client(self) -> GatewayClient:
        """Return a client as workers open it."""
        return GatewayClient(self.setting)

    def health(self) -> dict[str, int]:
        return json.loads(self._call("GET", "/health"))

    def forget(self, *keys: str) -> None:
        self._call("POST", "/forget", {FORGET: ",".join(keys)})

    def _call(self, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
        token = {"X-Starmill-Token": GATEWAY_TOKEN}
        request = urllib.request.Request(self.url + path, headers=token | (headers or {}), method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read()


@contextmanager
def running_gateway(*options: str) -> Iterator[GatewayProcess]:
    environment = os.environ | {"STARMILL_GATEWAY_URL": f"http://:{GATEWAY_TOKEN}@127.0.0.1:0"}
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        subprocess.Popen(
            [*COMMAND, *options], env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield GatewayProcess(json.loads(process.stdout.readline())["url"], process, Path(log.name))
        finally:
            process.terminate()


def failure(
    url: str, gateway: GatewayClient | None = None, request: Request = QUESTION, **settings: object
) -> ModelError:
    """Return the error that ends the call."""
    with pytest.raises(ModelError) as caught:
        ask(url, request, gateway, **settings)
    return caught.value
