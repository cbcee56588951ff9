"""The configuration file of the Redis that a local run starts: write it, and read its URL."""

from __future__ import annotations

from pathlib import Path

from models.adapters.private_files import private_folder

CONFIG = """\
bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
set-proc-title no
"""


def write_config(local: Path, port: int, password: str) -> tuple[Path, str]:
    """Write the file below `local`, readable by its owner alone. Return it, and the URL of that Redis."""
    data = private_folder(local / "redis")
    path = data / "redis.conf"
    path.touch(mode=0o600)
    folder = str(data).replace("\\", "\\\\").replace('"', '\\"')
    path.write_text(CONFIG.format(port=port, folder=folder, password=password))
    return path, _url(str(port), password)


def local_redis(root: Path) -> str | None:
    """Return the URL of the Redis that the last local run of this home started. It may have ended."""
    try:
        text = (root / "local" / "redis" / "redis.conf").read_text("utf-8")
    except OSError:
        return None
    values = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    if "port" not in values or "requirepass" not in values:
        return None
    return _url(values["port"], values["requirepass"])


def _url(port: str, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"
