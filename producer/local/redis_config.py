"""The configuration of the Redis that a local run starts: written for it, and read by who looks for it."""

from __future__ import annotations

from pathlib import Path

CONFIG = """\
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
set-proc-title no
"""


def write_config(local: Path, port: int, password: str) -> tuple[Path, str]:
    """In the folder `local` of a home, for its owner alone; the file, and the URL of that Redis."""
    data = local / "redis"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data / "redis.conf"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(port=port, folder=data, password=password))
    return path, _url(str(port), password)


def local_redis(root: Path) -> str | None:
    """URL of the Redis that the last local run of this home started; it may have ended."""
    try:
        text = (root / "local" / "redis" / "redis.conf").read_text("utf-8")
    except OSError:
        return None
    said = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    if "port" not in said or "requirepass" not in said:
        return None
    return _url(said["port"], said["requirepass"])


def _url(port: str, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"
