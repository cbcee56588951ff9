"""Flower beside the workers of `--local`: where it listens, and with which password."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import sys
from pathlib import Path

from producer.local.services import free_port
from producer.local.supervisor import Service
from storage.settings import Settings

PORT = 5555


def flower_service(settings: Settings, folder: Path, logs: Path) -> tuple[Service, str] | None:
    """Flower, and one line that says how to log in; None where it is not installed.

    Without STARMILL_DASHBOARD_PASSWORD the password is a new one, and stands in a file of the owner's."""
    if importlib.util.find_spec("flower") is None:
        return None
    port = PORT if _is_free(PORT) else free_port()
    if settings.dashboard_password:
        password, found = settings.dashboard_password.get_secret_value(), "STARMILL_DASHBOARD_PASSWORD"
    else:
        file = folder / "flower.password"
        file.touch(mode=0o600)
        password, found = secrets.token_urlsafe(12), str(file)
        file.write_text(password + "\n")
    environment = {
        "STARMILL_HOME": str(settings.root),
        "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LOG_LEVEL": settings.log_level,
        "STARMILL_LOG_FORMAT": settings.log_format,
        "STARMILL_DASHBOARD_PASSWORD": password,
    }
    command = [sys.executable, "-m", "worker.flower", f"--port={port}", "--address=127.0.0.1"]
    service = Service("flower", command, logs / "flower.log", lambda: True, environment, optional=True)
    return service, f"Flower: http://127.0.0.1:{port}, user starmill, password in {found}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
