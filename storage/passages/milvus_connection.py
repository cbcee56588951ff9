"""Connections to Milvus, server or Lite. Errors say in one line what to do."""

from __future__ import annotations

import atexit
import fcntl
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models.adapters.private_files import private_folder
from models.core.errors import ServiceError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_SECONDS = 10.0
# An idle client sends pings. Lite's server takes them for an attack: it hangs up after two minutes of
# encoding, and gRPC writes that to standard error.
NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}
_lite_servers: dict[Path, _LiteServer] = {}
_lite_guard = threading.Lock()


class _LiteServer:
    """Lite's server for one folder, in this process. It asks for no token, so it listens on a socket in a
    folder of this user alone; pymilvus would have it listen on a port of this machine."""

    def __init__(self, lite: Path) -> None:
        from milvus_lite.adapter.grpc.server import start_server_in_thread

        self.users = 0
        self._folder = tempfile.mkdtemp(prefix="starmill-milvus-")
        self.uri = f"unix:{self._folder}/socket"
        try:
            # It joins both by a colon.
            path: Any = f"{self._folder}/socket"
            self._server, self._db, _ = start_server_in_thread(str(lite), host="unix", port=path)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        atexit.register(self.stop)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self._server.stop(grace=2)
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Connection:
    """A client of the Milvus at `uri`, which is `http://HOST:PORT` or the path of a Lite folder, `FILE.db`.

    A Lite folder belongs to one process at a time, until that process closes its last connection to it.
    """

    def __init__(self, uri: str) -> None:
        try:
            import pymilvus
        except ImportError:
            raise ServiceError(
                "Milvus: pymilvus is not installed; pip install 'starmill[retrieve]'"
            ) from None
        # The client, Lite and Lite's server log every error with its stack before they raise it.
        for name in ("pymilvus", "milvus_lite", "grpc._server"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.label = f"Milvus at {_without_password(uri)}"
        self._lite = _lite_path(uri)
        with _lite_guard:
            address = self._serve_lite(self._lite) if self._lite else uri
            try:
                self.client: MilvusClient = pymilvus.MilvusClient(
                    address, timeout=CONNECT_SECONDS, grpc_options=NO_PINGS if self._lite else {}
                )
            except pymilvus.MilvusException as error:
                self._release_lite()
                raise ServiceError(self._why(error)) from None
            if self._lite:
                _lite_servers[self._lite].users += 1

    def _serve_lite(self, lite: Path) -> str:
        """Return the address of the server of a Lite folder; start it if this process has none."""
        if lite not in _lite_servers:
            private_folder(lite.parent)
            try:
                _lite_servers[lite] = _LiteServer(lite)
            except Exception as error:  # noqa: BLE001 (a folder in use, damaged, or of another release)
                raise ServiceError(self._why(error)) from None
        return _lite_servers[lite].uri

    def _why(self, error: Exception) -> str:
        if self._lite and _is_locked(self._lite):
            return (
                f"{self.label} is in use by another process; wait for it to end, or give each its own "
                "STARMILL_MILVUS_URI (a Milvus server takes any number)"
            )
        if self._lite:
            return f"{self.label} cannot be opened; pip install 'starmill[embedded]', or move the folder away"
        return f"{self.label} cannot be reached ({_message(error)}); check STARMILL_MILVUS_URI and the server"

    @contextmanager
    def explained(self) -> Iterator[MilvusClient]:
        """Yield the client; turn what it raises into a ServiceError."""
        from pymilvus import MilvusException

        try:
            yield self.client
        except MilvusException as error:
            raise ServiceError(f"{self.label}: {_message(error)}") from error

    @property
    def is_server(self) -> bool:
        return self._lite is None

    def collection_of(self, alias: str) -> str | None:
        """Return the collection that the alias stands for; None if there is no such alias."""
        from pymilvus import MilvusException

        try:
            return str(self.client.describe_alias(alias)["collection_name"])
        except MilvusException:
            return None

    def close(self) -> None:
        """Close the client; the last one of a Lite folder in this process frees the folder. Idempotent."""
        with _lite_guard:
            self.client.close()
            if self._lite is None:
                return
            _lite_servers[self._lite].users -= 1
            self._release_lite()
            self._lite = None

    def _release_lite(self) -> None:
        if self._lite and not _lite_servers[self._lite].users:
            _lite_servers.pop(self._lite).stop()


def _lite_path(uri: str) -> Path | None:
    if "://" in uri or uri.startswith("unix:"):
        return None
    if not uri.endswith(".db"):
        raise ServiceError(f"STARMILL_MILVUS_URI={uri}: give http://HOST:PORT, or a path that ends in .db")
    return Path(uri).expanduser().absolute()


def _is_locked(lite: Path) -> bool:
    try:
        with (lite / "LOCK").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else uri


def _message(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())
