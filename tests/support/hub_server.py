"""A local server of the Hugging Face Hub's API, as far as a dataset is pushed: files are kept in memory.

Like the Hub it checks the card and tells how each file is to be sent; unlike the Hub it wants all of them
within the commit, and speaks no Xet.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_" + "t0ken" * 7
USER = "writer"
_DATASET = re.compile(r"/api/datasets/([\w.-]+/[\w.-]+)/(preupload|commit|tree)/main")


@dataclass
class HubServer:
    """`datasets` are files by path, by the name of their dataset; `private` names datasets."""

    url: str = ""
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        owner = asked["organization"] or USER
        name = f"{owner}/{asked['name']}"
        if owner != USER:
            return 403, {"error": f"You don't have the rights to create a dataset under {owner}"}
        url = f"{self.url}/datasets/{name}"
        if name in self.datasets:
            return 409, {"error": "You already created this dataset repo", "url": url}
        self.datasets[name] = {".gitattributes": b"*.parquet filter=lfs\n"}
        if asked["visibility"] == "private":
            self.private.add(name)
        return 200, {"url": url, "name": name}

    def preupload(self, name: str, asked: list[Any]) -> tuple[int, Any]:
        files = self.datasets[name]
        return 200, {
            "files": [
                {
                    "path": each["path"], "uploadMode": "regular", "shouldIgnore": False,
                    "oid": _blob_id(files[each["path"]]) if each["path"] in files else None,
                }
                for each in asked[0]["files"]
            ]
        }  # fmt: skip

    def commit(self, name: str, asked: list[Any]) -> tuple[int, Any]:
        files = self.datasets[name]
        for each in asked:
            match each:
                case {"key": "header", "value": {"summary": summary}}:
                    self.commits.append(summary)
                case {"key": "file", "value": {"path": path, "content": content}}:
                    files[path] = base64.b64decode(content)
                case {"key": "deletedFile", "value": {"path": path}}:
                    del files[path]
        oid = f"{len(self.commits):040x}"
        return 200, {
            "commitUrl": f"{self.url}/datasets/{name}/commit/{oid}",
            "commitOid": oid,
            "success": True,
        }

    def tree(self, name: str, asked: list[Any]) -> tuple[int, Any]:
        del asked
        return 200, [
            {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
            for path, content in self.datasets[name].items()
        ]


def _check_card(content: str) -> tuple[int, Any]:
    try:
        header = yaml.safe_load(content.split("---\n")[1])
        assert header["configs"][0]["data_files"]
    except (IndexError, KeyError, TypeError, AssertionError, yaml.YAMLError) as error:
        return 400, {"errors": [{"message": repr(error)}], "warnings": []}
    return 200, {"errors": [], "warnings": []}


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def running_hub() -> Iterator[HubServer]:
    hub = HubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer([])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer([json.loads(line) for line in body.splitlines()])

        def _answer(self, asked: list[Any]) -> None:
            status, answer = self._handle(asked)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _handle(self, asked: list[Any]) -> tuple[int, Any]:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, {"error": "Invalid user token."}
            if self.path == "/api/repos/create":
                return hub.create(asked[0])
            if self.path == "/api/validate-yaml":
                return _check_card(asked[0]["content"])
            matched = _DATASET.match(self.path)
            if not matched or matched[1] not in hub.datasets:
                return 404, {"error": "Repository not found"}
            status, answer = getattr(hub, matched[2])(matched[1], asked)
            return int(status), answer

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
