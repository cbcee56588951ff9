"""A worker that serves many runs keeps no more connections than it needs."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from models.core.experiment.endpoints import Model
from storage.settings import Settings
from worker.clients import MAX_SERVERS, Clients


def served_at(port: int) -> Model:
    return Model(name="student", backend="server", model="m", base_url=f"http://127.0.0.1:{port}/v1")


def test_clients_of_old_servers_are_closed_unless_a_run_uses_them(tmp_path: Path) -> None:
    async def serve_runs() -> None:
        clients = Clients(Settings(home=tmp_path), "worker")
        in_use = [served_at(port) for port in range(1, 4)]
        opened = [clients.client(model).backend for model in in_use]
        over = [served_at(port) for port in range(1_000, 1_000 + 2 * MAX_SERVERS)]
        for model in over:
            clients.client(model)
        await clients.close_unused()
        assert clients.servers == 3 + 2 * MAX_SERVERS
        del over, model
        gc.collect()
        await clients.close_unused()
        assert clients.servers == MAX_SERVERS
        assert [clients.client(served_at(port)).backend for port in range(1, 4)] == opened
        await clients.close()

    asyncio.run(serve_runs())
