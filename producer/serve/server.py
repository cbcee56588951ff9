"""The server of the run page: from a free port to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import uvicorn

from models.core.errors import ServiceError
from producer.progress.status import LimitWatch
from producer.serve.app import Site, application
from producer.serve.auth import Sessions
from producer.serve.report_tables import TableMaker
from producer.serve.snapshots import RunSnapshots, Streams
from storage.database import Database
from storage.settings import Settings

MAX_CONNECTIONS = 500
IDLE_SECONDS = 15
SHUTDOWN_SECONDS = 5


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours say to the streams, too, that it is time to go."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Raises ServiceError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # whoever reads the address may ask at once
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ServiceError(f"cannot listen on {host}:{port}: {reason}; give another --port") from None
    return listener


def serve(
    db: Database, settings: Settings, password: str, listener: socket.socket, hosts: Collection[str]
) -> None:
    """Until SIGINT or SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="starmill-serve-") as folder:
        asyncio.run(_serve(db, settings, password, listener, hosts, Path(folder)))


async def _serve(
    db: Database,
    settings: Settings,
    password: str,
    listener: socket.socket,
    hosts: Collection[str],
    folder: Path,
) -> None:
    readings, tables, streams = RunSnapshots(db, LimitWatch(settings)), TableMaker(folder), Streams()
    app = application(Site(readings, tables, Sessions(password), streams), hosts)
    # Below ERROR it tells that it starts and ends, and of whatever a stranger sends.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # Who connects is who asks: an address that the client itself tells would get around the slow-down.
    server = _Server(uvicorn.Config(
        app, http="h11", ws="none", loop="asyncio", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    ))  # fmt: skip

    def leave() -> None:
        streams.close()
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    try:
        await server.serve([listener])
    finally:
        await tables.close()
        readings.close()
