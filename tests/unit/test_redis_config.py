"""The Redis of a local run is read back from its configuration."""

from __future__ import annotations

from pathlib import Path

from producer.local.redis_config import local_redis, write_config


def test_written_config_is_read_back(tmp_path: Path) -> None:
    assert local_redis(tmp_path) is None
    path, url = write_config(tmp_path / "local", 6390, "secret")
    assert local_redis(tmp_path) == url == "redis://:secret@127.0.0.1:6390/0"
    assert path.stat().st_mode & 0o777 == 0o600


def test_other_file_is_no_configuration(tmp_path: Path) -> None:
    path, _ = write_config(tmp_path / "local", 6390, "secret")
    path.write_text("port 6390\n")
    assert local_redis(tmp_path) is None
