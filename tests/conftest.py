"""Fixtures that every kind of test may use."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from storage.database import Database
from storage.logs import set_about
from tests.openai_server.process import OpenAIServer, process_that_prints_its_url, running
from tests.support.clock import Clock
from tests.support.counted import assert_counts_hold
from tests.support.services import Postgres, running_postgres, running_valkey

REPOSITORY = Path(__file__).resolve().parents[1]
DATA_VARIABLE = "STARMILL_TEST_DATA"

# The duration of an example means nothing on a shared machine.
settings.register_profile("starmill", deadline=None, print_blob=True)
settings.load_profile("starmill")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files with long timeouts begin first: no process is left alone with one at the end."""
    longest: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), float(mark.args[0]) if mark else 0.0)
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The published data that results are compared with; `STARMILL_TEST_DATA` names another folder."""
    path = Path(os.environ.get(DATA_VARIABLE) or REPOSITORY.parent / "shared" / "data")
    if path.is_dir():
        return path
    message = f"no reference data at {path}; set {DATA_VARIABLE} to its folder"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own settings: no variables, no key, no `.env`, no `.starmill`."""
    for name in os.environ:
        if name.startswith("STARMILL_") and name != DATA_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Restore logging, which a command that ran in this process may have set up."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    set_about()
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database() as url:
        yield url


@pytest.fixture(scope="session")
def _sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "ledger.db"
    db = Database(f"sqlite:///{path}")
    db.migrate()
    db.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A ledger without runs, in each kind of database."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("_sqlite_ledger"), tmp_path)
        db = Database(f"sqlite:///{path}")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        db = Database(server.empty_ledger(), pool_size=8)
    yield db
    assert_counts_hold(db)
    db.close()


@pytest.fixture(scope="session")
def _valkey() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture
def redis_url(_valkey: str) -> str:
    """A real Redis (Valkey) that holds nothing."""
    import redis

    with redis.Redis.from_url(_valkey) as client:
        client.flushall()
    return _valkey


@pytest.fixture(scope="module")
def milvus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Milvus server. It uses processor time even when idle, and ends with the file."""
    folder = tmp_path_factory.mktemp("milvus")
    with process_that_prints_its_url("tests.support.milvus_server", str(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def openai_process() -> Iterator[OpenAIServer]:
    with running() as server:
        yield server


@pytest.fixture
def openai_server(openai_process: OpenAIServer) -> OpenAIServer:
    """The test server without faults and with all counts at zero."""
    openai_process.configure()
    while openai_process.stats()["in_flight"]:  # calls that the test before cancelled
        time.sleep(0.01)
    openai_process.forget()
    return openai_process
