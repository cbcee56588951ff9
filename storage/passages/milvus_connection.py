"""Connections to Milvus, server or Lite. Errors say in one line what to do."""

from __future__ import annotations

import fcntl
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models.adapters.private_files import private_folder
from models.core.errors import ServiceError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_SECONDS = 10.0
# An idle client sends pings. Lite's server takes them for an attack: it hangs up after two minutes of
# encoding, and gRPC writes that to standard error.
NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}
_lite_users: Counter[str] = Counter()
_lite_guard = threading.Lock()


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
            if self._lite:
                private_folder(self._lite.parent)
            try:
                self.client: MilvusClient = pymilvus.MilvusClient(
                    str(self._lite or uri),
                    timeout=CONNECT_SECONDS,
                    grpc_options=NO_PINGS if self._lite else {},
                )
            except pymilvus.MilvusException as error:
                raise ServiceError(self._why(error)) from None
            if self._lite:
                _lite_users[str(self._lite)] += 1

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
            lite, self._lite = str(self._lite), None
            _lite_users[lite] -= 1
            if not _lite_users[lite]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(lite)


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
