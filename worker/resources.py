"""What is expensive to open: model clients, encoders, indexes. Opened at first use, once a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from models.backends import open_backend
from models.backends.base import Backend
from models.backends.gateway import Gateway
from models.experiment import Passages, Student, Teacher
from models.types import Hit
from storage.ledger.generations import Purchase
from storage.passages.retriever import Retriever
from storage.settings import Settings


class Resources:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = settings.gateway_url
        self._gateway = Gateway(url.get_secret_value()) if url else None
        self._backends: dict[str, Backend] = {}
        self._retrievers: dict[str, Retriever] = {}
        # Encoding holds the processor: one batch at a time, beside the loop.
        self._encoding = ThreadPoolExecutor(1, "encoder")

    def backend(self, endpoint: Teacher | Student) -> Backend:
        """The client of a model; endpoints that are alike share one."""
        key = endpoint.model_dump_json(exclude={"name", "params", "price"})
        if key not in self._backends:
            self._backends[key] = open_backend(endpoint, self._settings.embedded_url, self._gateway)
        return self._backends[key]

    def committed(self, purchases: Iterable[Purchase | None]) -> None:
        """These are in the ledger: nobody else needs to hold their answers."""
        if self._gateway:
            self._gateway.forget(purchase.request.key for purchase in purchases if purchase)

    async def search(self, passages: Passages, queries: list[str]) -> list[list[Hit]]:
        """The `top_k` nearest passages of each query, best first. Raises ServiceError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoding, self._search, passages, queries)

    def _search(self, passages: Passages, queries: list[str]) -> list[list[Hit]]:
        key = passages.model_dump_json(include={"source", "path", "packages", "encoder"})
        if key not in self._retrievers:
            threads = max(1, (os.cpu_count() or 2) // 2)
            self._retrievers[key] = Retriever(passages, self._settings.root, threads)
        return self._retrievers[key].search(queries, passages.top_k)

    async def close(self) -> None:
        for backend in self._backends.values():
            await backend.close()
        if self._gateway:
            await self._gateway.close()
        self._encoding.shutdown(wait=False)
