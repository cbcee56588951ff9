"""The ledger of the commands that a test gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database
from tests.support.command_line import command_line


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with command_line(tmp_path, monkeypatch) as opened:
        yield opened
