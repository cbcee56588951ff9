"""A server of devdocs' files that misbehaves as told, and counts what it sends."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Mirror:
    """`files` by path. `cuts` says after how many bytes of a body connections break, one after the other;
    `refusals` how often 503 is answered. `sent` counts bytes of bodies, `ranges` are those asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    ignores_ranges: bool = False
    chunked: bool = False

    def publish(
        self, slug: str, entries: list[Any], pages: dict[str, str], mtime: int = 1, **meta: Any
    ) -> None:
        """A documentation, and its line in the catalogue."""
        db = json.dumps(pages).encode()
        self.files[f"/{slug}/index.json"] = json.dumps({"entries": entries, "types": []}).encode()
        self.files[f"/{slug}/db.json"] = db
        lines = [line for line in json.loads(self.files.get("/docs.json", b"[]")) if line["slug"] != slug]
        lines.append({"name": slug, "slug": slug, "mtime": mtime, "db_size": len(db)} | meta)
        self.files["/docs.json"] = json.dumps(lines).encode()


@contextmanager
def serving() -> Iterator[Mirror]:
    mirror = Mirror()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, mirror)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The client hung up, as it may."""

    server = Server(("127.0.0.1", 0), Handler)
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, mirror: Mirror) -> None:
    path = request.path.partition("?")[0]
    mirror.requests.append(path)
    if mirror.refusals[path] > 0:
        mirror.refusals[path] -= 1
        _head(request, 503, {"Retry-After": "0", "Content-Length": "0"})
        return
    if path not in mirror.files:
        _head(request, 404, {"Content-Length": "0"})
        return
    body = mirror.files[path]
    asked = request.headers.get("Range", "")
    mirror.ranges.append(asked)
    start = 0 if mirror.ignores_ranges or not asked else int(asked.removeprefix("bytes=").rstrip("-"))
    if start and start >= len(body):
        _head(request, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
        return
    headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
    rest = body[start:]
    if mirror.chunked:
        _head(request, 206 if start else 200, headers | {"Transfer-Encoding": "chunked"})
        request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))
        mirror.sent[path] += len(rest)
        return
    _head(request, 206 if start else 200, headers | {"Content-Length": str(len(rest))})
    cuts = mirror.cuts.get(path)
    part = rest[: cuts.pop(0)] if cuts else rest
    request.wfile.write(part)
    mirror.sent[path] += len(part)
    if len(part) < len(rest):
        request.close_connection = True


def _head(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
