"""A local HTTP server that keeps what webhooks send it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class WebhookReceiver:
    """`bodies` of all tries. The next ones are answered by `statuses`, then by 204, once `may_answer` is."""

    url: str = ""
    bodies: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def receiving() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    receiver.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            receiver.may_answer.wait(30)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hooks/s3cret"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield receiver
        finally:
            receiver.may_answer.set()
            server.shutdown()
