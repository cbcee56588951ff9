"""Milvus Lite asks for no token: while an index is built, no other user of the machine can reach it."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from models.core.errors import ServiceError
from storage.passages.milvus_connection import Connection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LISTENS = "0A"


def own_sockets() -> set[str]:
    """Return the inodes of the sockets of this process."""
    links = (os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    return {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}


def listening_ports() -> set[str]:
    """Return the addresses at which this process accepts TCP connections."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    own = own_sockets()
    return {row[1] for row in rows if row[3] == LISTENS and row[9] in own}


def sockets() -> set[Path]:
    """Return the files at which a Lite of this machine accepts connections."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {Path(row[7]) for row in rows if len(row) > 7 and "/starmill-milvus-" in row[7]}


def test_lite_listens_on_a_socket_of_this_user_alone(tmp_path: Path) -> None:
    ports, before = listening_ports(), sockets()
    with closing(Connection(str(tmp_path / "milvus.db"))) as connection:
        assert connection.client.list_collections() == []
        assert listening_ports() == ports
        [socket] = {each for each in sockets() - before if each.parent.exists()}
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        with closing(Connection(str(tmp_path / "milvus.db"))) as second:
            assert second.client.list_collections() == []
        assert connection.client.list_collections() == []
    assert not socket.parent.exists()


def test_lite_that_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "milvus.db").write_text("a file")
    before = sockets()
    for _ in range(2):
        with pytest.raises(ServiceError, match="cannot be opened"):
            Connection(str(tmp_path / "milvus.db"))
    assert sockets() == before
