"""Files that go up and come down."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.openai_server.replies import error_response


@dataclass
class File:
    id: str
    name: str
    purpose: str
    content: bytes
    created_at: int = field(default_factory=lambda: int(time.time()))

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id, "object": "file", "bytes": len(self.content), "created_at": self.created_at,
            "filename": self.name, "purpose": self.purpose, "status": "processed",
        }  # fmt: skip


class Files:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._files: dict[str, File] = {}

    def get(self, file_id: str) -> File | None:
        return self._files.get(file_id)

    def store(self, name: str, purpose: str, content: bytes) -> File:
        file = File(f"file-{next(self._numbers)}", name, purpose, content)
        self._files[file.id] = file
        return file

    async def upload(self, http: web.Request) -> web.Response:
        form = await http.post()
        sent, purpose = form.get("file"), str(form.get("purpose", ""))
        if not isinstance(sent, web.FileField) or purpose != "batch":
            return error_response(400, "a file with the purpose batch is needed")
        return web.json_response(self.store(sent.filename, purpose, sent.file.read()).document())

    async def list_files(self, http: web.Request) -> web.Response:
        purpose = http.query.get("purpose")
        files = [file for file in self._files.values() if purpose in (None, file.purpose)]
        newest_first = http.query.get("order", "desc") == "desc"
        return page(http, files[::-1] if newest_first else files)

    async def file(self, http: web.Request) -> web.Response:
        record = self._files.get(http.match_info["id"])
        return web.json_response(record.document()) if record else error_response(404, "no such file")

    async def content(self, http: web.Request) -> web.Response:
        record = self._files.get(http.match_info["id"])
        if not record:
            return error_response(404, "no such file")
        return web.Response(body=record.content, content_type="application/octet-stream")

    async def delete(self, http: web.Request) -> web.Response:
        record = self._files.pop(http.match_info["id"], None)
        if not record:
            return error_response(404, "no such file")
        return web.json_response({"id": record.id, "object": "file", "deleted": True})


def page(http: web.Request, items: Sequence[Any]) -> web.Response:
    ids = [each.id for each in items]
    after = http.query.get("after")
    start = ids.index(after) + 1 if after in ids else 0
    limit = int(http.query.get("limit", 20))
    shown = [each.document() for each in items[start : start + limit]]
    return web.json_response({
        "object": "list", "data": shown, "has_more": start + limit < len(items),
        "first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None,
    })  # fmt: skip


def add_to(app: web.Application) -> Files:
    its = Files()
    app.router.add_routes([
        web.post("/v1/files", its.upload),
        web.get("/v1/files", its.list_files),
        web.get("/v1/files/{id}", its.file),
        web.get("/v1/files/{id}/content", its.content),
        web.delete("/v1/files/{id}", its.delete),
    ])  # fmt: skip
    return its
