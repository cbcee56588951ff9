"""`starmill doctor` on real servers in good order, and in each wrong one; both behind TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from models.core.errors import ServiceError
from producer.cli import main
from storage.broker import Queues, celery_settings
from storage.database import WORKER_CONNECTIONS, Database
from storage.limits.limiter import Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from storage.service_checks import ServiceProblem, check_postgres, check_redis
from storage.settings import Settings
from tests.support.production import ProductionRedis, behind_tls, production_redis
from tests.support.services import Postgres
from worker.runtime import Runtime


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ProductionRedis]:
    with production_redis(tmp_path) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    db = Database(postgres.empty_ledger())
    yield db
    db.close()


def wrong(remarks: list[ServiceProblem]) -> dict[str, str]:
    """Return the messages of failed checks by name."""
    return {each.name: each.says for each in remarks if not each.ok and "latency" not in each.name}


def test_redis_with_deploys_configuration_passes(broker: ProductionRedis) -> None:
    assert wrong(check_redis(broker.url)) == {}
    assert broker.admin.acl_log() == []


@pytest.mark.parametrize(
    ("setting", "value", "name", "remedy"),
    [
        ("appendonly", "no", "Redis log", "set `appendonly yes`"),
        ("maxmemory-policy", "allkeys-lru", "Redis memory", "set `maxmemory-policy noeviction`"),
        ("maxmemory", "1mb", "Redis room", "raise maxmemory"),
    ],
)
def test_a_wrong_setting_of_redis_is_named_with_its_remedy(
    broker: ProductionRedis, setting: str, value: str, name: str, remedy: str
) -> None:
    broker.admin.config_set(setting, value)
    problems = wrong(check_redis(broker.url))
    assert set(problems) == {name}
    assert remedy in problems[name]


def test_replica_is_reported_as_read_only(broker: ProductionRedis) -> None:
    broker.admin.replicaof("127.0.0.1", "1")
    assert "is a replica and read-only: name the primary" in wrong(check_redis(broker.url))["Redis role"]


def test_clock_skew_is_reported(broker: ProductionRedis, database: Database) -> None:
    late = {"Redis clock": check_redis(broker.url, lambda: time.time() - 30),
            "PostgreSQL clock": check_postgres(database, lambda: time.time() - 30)}  # fmt: skip
    for name, remarks in late.items():
        assert wrong(remarks)[name].startswith("is 30 s from this machine's")


def test_remote_redis_without_tls_is_reported(tmp_path: Path) -> None:
    with production_redis(tmp_path, "--bind", "127.0.0.1", "::1") as server:
        # Another name of this machine: nothing tells that from another machine.
        url = server.url.replace("127.0.0.1", "0.0.0.0")
        assert "use rediss://" in wrong(check_redis(url))["Redis link"]


def test_redis_user_without_info_is_named_without_traceback(broker: ProductionRedis) -> None:
    broker.admin.acl_setuser("starmill", commands=["-info"])
    with pytest.raises(ServiceError, match=r"Redis cannot be asked: .*its user needs \+info"):
        check_redis(broker.url)


def test_redis_behind_tls_works_and_an_untrusted_certificate_is_refused(
    broker: ProductionRedis, tmp_path: Path
) -> None:
    """Queue, limits and doctor; a certificate that nobody vouches for is refused."""
    with behind_tls(broker.port, tmp_path) as (port, certificate):
        plain = broker.url.replace("redis://", "rediss://").replace(str(broker.port), str(port))
        url = f"{plain}?ssl_ca_certs={certificate}"
        assert wrong(check_redis(url)) == {}
        assert (
            "any server would be believed" in wrong(check_redis(f"{plain}?ssl_cert_reqs=none"))["Redis link"]
        )
        with pytest.raises(ServiceError, match="certificate verify failed"):
            Queues(plain).check()
        Queues(url).check()
        app = Celery(set_as_current=False)
        app.conf.update(celery_settings(Settings(redis_url=url)))
        with app.connection_for_write() as connection, connection.SimpleQueue("judge") as queue:
            queue.put({"unit": 1})
            assert queue.get(timeout=10).payload == {"unit": 1}
        assert asyncio.run(exchange(url))
        app.conf.update(celery_settings(Settings(redis_url=plain)))
        with app.connection_for_write() as connection, pytest.raises(OperationalError, match="certificate"):
            connection.ensure_connection(max_retries=1, timeout=3)
        app.close()


async def exchange(url: str) -> bool:
    client = connect_redis(url)
    limiter = RedisLimiter(client, "model")
    [answer] = await limiter.exchange(Quota(60, None, 4), "worker", 0, [], [10])
    await limiter.close()
    return answer.granted


def test_postgresql_without_fsync_is_reported(database: Database) -> None:
    """The server of the tests forgets commits when it loses power, as a server for work must not."""
    problems = wrong(check_postgres(database))
    assert problems == {"PostgreSQL commits": "fsync off: what was paid for can be lost; switch on"}


def test_postgresql_behind_tls_works_and_an_untrusted_certificate_is_refused(
    database: Database, tmp_path: Path
) -> None:
    """Ledger and doctor; a certificate that nobody vouches for is refused."""
    socket = Path(str(database.url.query["host"])) / ".s.PGSQL.5432"
    with behind_tls(socket, tmp_path) as (port, certificate):

        def at(**query: str) -> Database:
            url = database.url.set(host="localhost", port=port, query=query)
            return Database(url.render_as_string(hide_password=False))

        safe = at(sslmode="verify-full", sslrootcert=str(certificate))
        safe.require_current()
        assert "PostgreSQL link" not in wrong(check_postgres(safe))
        safe.close()
        believing = at(sslmode="require")
        assert "any server would be believed" in wrong(check_postgres(believing))["PostgreSQL link"]
        believing.close()
        doubting = at(sslmode="verify-full", sslrootcert="/etc/ssl/certs/ca-certificates.crt")
        with pytest.raises(ServiceError, match="certificate verify failed"):
            doubting.require_current()
        doubting.close()


def test_postgresql_without_free_connections_is_reported(database: Database) -> None:
    with database.read() as connection:
        most = int(connection.exec_driver_sql("SHOW max_connections").scalar_one())
    others = [
        Database(database.url.render_as_string(hide_password=False), pool_size=1) for _ in range(most - 12)
    ]
    try:
        held = [other.engine.connect() for other in others]
        problems = wrong(check_postgres(database))
        for connection in held:
            connection.close()
    finally:
        for other in others:
            other.close()
    assert "raise max_connections" in problems["PostgreSQL connections"]


def test_worker_opens_no_more_connections_than_documented(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    runtime = Runtime(Settings(database_url=url))

    async def all_at_once() -> None:
        await asyncio.gather(*(runtime.ledger(_sleep) for _ in range(40)))

    before = connections(database)
    runtime.wait_for(all_at_once())
    opened = connections(database) - before
    runtime.close()
    runtime._loop.close()
    assert opened == WORKER_CONNECTIONS


def connections(db: Database) -> int:
    count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with db.read() as connection:
        return int(connection.exec_driver_sql(count).scalar_one())


def _sleep(db: Database) -> None:
    with db.read() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(0.02)")


def test_old_schema_is_reported_and_not_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    monkeypatch.setenv("STARMILL_DATABASE_URL", database.url.render_as_string(hide_password=False))
    try:
        with pytest.raises(SystemExit) as ended:
            main(["doctor"])
        assert ended.value.code == 2
        stdout = capsys.readouterr().out
        assert "schema is 0001, this release needs" in stdout
    finally:
        with database.write() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{database._head()}'")
