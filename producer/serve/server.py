"""The server of the run page: bind the port, serve, stop on a signal."""

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
from producer.serve.bounded_connections import BoundedConnection
from producer.serve.report_tables import TableMaker
from producer.serve.snapshots import SnapshotCache, Streams
from storage.database import Database
from storage.settings import Settings

MAX_CONNECTIONS = 500
IDLE_SECONDS = 15
SHUTDOWN_SECONDS = 5


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to our own handlers, which close the streams, too."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Bind the port. Raise ServiceError if it cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # a client may connect as soon as the address is printed
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ServiceError(f"cannot listen on {host}:{port}: {reason}; give another --port") from None
    return listener


def serve(
    db: Database, settings: Settings, password: str, listener: socket.socket, hosts: Collection[str]
) -> None:
    """Serve until SIGINT or SIGTERM."""
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
    snapshots, tables, streams = SnapshotCache(db, LimitWatch(settings)), TableMaker(folder), Streams()
    app = application(Site(snapshots, tables, Sessions(password), streams), hosts)
    # Below ERROR it logs start and end, and every malformed request of a stranger.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # Count wrong tries by the real address: a client could send any other in a header.
    server = _Server(uvicorn.Config(
        app, http=BoundedConnection, ws="none", loop="asyncio", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    ))  # fmt: skip

    def stop() -> None:
        streams.close()
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await server.serve([listener])
    finally:
        await tables.close()
        snapshots.close()
