"""A connection to Milvus Lite over which nothing is said, as while a corpus is encoded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from storage.passages.milvus_connection import Connection

# Pings of a silent client were taken for an attack after 140 s.
SILENCE = 170.0

pytestmark = pytest.mark.timeout(300)


def test_idle_connection_to_milvus_lite_stays_open_while_a_corpus_is_encoded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = Connection(str(tmp_path / "passages.db"))
    try:
        time.sleep(SILENCE)
        assert connection.client.list_collections() == []
    finally:
        connection.close()
    assert capfd.readouterr().err == ""
