"""Checks of Redis and PostgreSQL: durability, encryption, latency and clocks.

They need the rights of an ordinary user only. Each check that is not `ok` says what to change.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from models.core.errors import ServiceError
from storage.database import ACCESS_HINT, DAMAGE_HINT, WORKER_CONNECTIONS, Database, no_access
from storage.ledger_clock import MAX_SKEW_SECONDS
from storage.service_errors import cause

MIN_REDIS = (6, 0)
MIN_POSTGRESQL = 12
SLOW_SECONDS = 0.02
MIN_WORKERS = 4
TRIES = 9
FULL = 0.9


@dataclass(frozen=True, slots=True)
class ServiceProblem:
    name: str
    ok: bool
    says: str


def check_redis(url: str, clock: Callable[[], float] = time.time) -> list[ServiceProblem]:
    """Check the Redis at `url`. Raise ServiceError if it cannot be asked."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3) as client:
            return list(_redis(client, clock))
    except (RedisError, ValueError) as error:
        raise ServiceError(f"Redis cannot be asked: {error}; its user needs +info, +ping and +time") from None


def check_postgres(db: Database, clock: Callable[[], float] = time.time) -> list[ServiceProblem]:
    """Check a PostgreSQL ledger; SQLite has no checks. Raise ServiceError if the server cannot be asked."""
    if db.is_sqlite:
        return []
    try:
        with db.read() as connection:
            return list(_postgres(db, connection, clock))
    except SQLAlchemyError as error:
        raise ServiceError(f"PostgreSQL cannot be asked: {cause(error)}") from None


def check_sqlite(db: Database) -> list[ServiceProblem]:
    """Check that the file of an SQLite ledger is whole; PostgreSQL checks itself. Raise nothing."""
    if not db.is_sqlite:
        return []
    hint = DAMAGE_HINT
    try:
        with db.read() as connection:
            problems = connection.execute(text("PRAGMA quick_check(3)")).scalars().all()
    except (ServiceError, SQLAlchemyError) as error:
        problems, hint = [cause(error)], ACCESS_HINT if no_access(error) else DAMAGE_HINT
    report = " ".join("; ".join(map(str, problems)).split())[:300]
    return [_problem("ledger file", report == "ok", "quick_check finds no damage", f"{report}; {hint}")]


def _redis(client: redis.Redis, clock: Callable[[], float]) -> Iterator[ServiceProblem]:
    info: dict[str, Any] = client.info()
    version = str(info.get("valkey_version") or info["redis_version"])
    supported = tuple(map(int, str(info["redis_version"]).split(".")[:2])) >= MIN_REDIS
    yield _problem("Redis version", supported, version, f"{version}: use 6.0 or newer")
    yield _problem(
        "Redis log",
        bool(info.get("aof_enabled")),
        "the append-only file is on",
        "appendonly is off: a restart forgets every queued message; set `appendonly yes`",
    )
    policy = str(info.get("maxmemory_policy"))
    yield _problem(
        "Redis memory",
        policy == "noeviction",
        policy,
        f"maxmemory-policy is {policy}, which drops messages; set `maxmemory-policy noeviction`",
    )
    yield from _redis_writes(info)
    options = client.get_connection_kwargs()
    secured = client.connection_pool.connection_class is redis.SSLConnection
    checked = options.get("ssl_cert_reqs", "required") == "required"
    host = str(options.get("host") or "")
    yield _link("Redis", host, secured, checked, "rediss://", "drop ssl_cert_reqs from the URL")
    yield _latency("Redis", client.ping)
    seconds, micro = client.time()
    yield _skew("Redis", int(seconds) + int(micro) / 1e6, clock)


def _redis_writes(info: dict[str, Any]) -> Iterator[ServiceProblem]:
    role, used, limit = str(info.get("role")), int(info["used_memory"]), int(info.get("maxmemory", 0))
    yield _problem(
        "Redis role", role != "slave", "takes writes", "is a replica and read-only: name the primary"
    )
    room = f"{used / 1e6:,.0f} of {limit / 1e6:,.0f} MB used" if limit else f"{used / 1e6:,.0f} MB used"
    yield _problem("Redis room", not limit or used < FULL * limit, room, f"{room}: raise maxmemory")


def _postgres(db: Database, connection: Connection, clock: Callable[[], float]) -> Iterator[ServiceProblem]:
    def ask(question: str) -> Any:
        return connection.execute(text(question)).scalar_one()

    version = str(ask("SHOW server_version"))
    supported = int(ask("SHOW server_version_num")) // 10000 >= MIN_POSTGRESQL
    yield _problem("PostgreSQL version", supported, version, f"{version}: use {MIN_POSTGRESQL} or newer")
    risky = " and ".join(name for name in ("fsync", "synchronous_commit") if ask(f"SHOW {name}") == "off")
    yield _problem(
        "PostgreSQL commits",
        not risky,
        "are on disk before they count",
        f"{risky} off: what was paid for can be lost; switch on",
    )
    limit = int(ask("SHOW max_connections")) - int(ask("SHOW superuser_reserved_connections"))
    used = int(ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    room = max(0, limit - used) // WORKER_CONNECTIONS
    says = f"{used} of {limit} in use: room for {room} more workers of {WORKER_CONNECTIONS} each"
    yield _problem("PostgreSQL connections", room >= MIN_WORKERS, says, f"{says}; raise max_connections")
    # Our end is asked: behind a pooler, the server knows only its link to the pooler.
    driver: Any = connection.connection.driver_connection
    secured = bool(driver.pgconn.ssl_in_use)
    checked = db.url.query.get("sslmode") == "verify-full"
    host = db.url.host or str(db.url.query.get("host", ""))
    check = "set sslmode=verify-full and sslrootcert"
    yield _link("PostgreSQL", host, secured, checked, "sslmode=verify-full", check)
    yield _latency("PostgreSQL", lambda: ask("SELECT 1"))
    theirs = float(ask("SELECT extract(epoch FROM clock_timestamp())"))
    yield _skew("PostgreSQL", theirs, clock, ": no worker starts here")


def _problem(name: str, ok: bool, good: str, bad: str) -> ServiceProblem:
    return ServiceProblem(name, ok, good if ok else bad)


def _link(service: str, host: str, secured: bool, checked: bool, how: str, check: str) -> ServiceProblem:
    name = f"{service} link"
    if secured:
        return _problem(name, checked, "TLS", f"TLS, but any server would be believed: {check}")
    bad = f"to {host} is not encrypted, passwords and rows can be read on the way: use {how}"
    return _problem(name, _is_here(host), "does not leave this machine", bad)


def _is_here(host: str) -> bool:
    """Return True for loopback addresses and for sockets, whose host is a path or empty."""
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _latency(service: str, ask: Callable[[], object]) -> ServiceProblem:
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
    usual = median(seconds)
    says = f"{1000 * usual:.1f} ms"
    bad = f"{says}: each unit waits for it several times; bring workers nearer to it"
    return _problem(f"{service} latency", usual < SLOW_SECONDS, says, bad)


def _skew(service: str, theirs: float, clock: Callable[[], float], harm: str = "") -> ServiceProblem:
    skew = abs(theirs - clock())
    bad = f"is {skew:.0f} s from this machine's{harm}; set both by NTP"
    return _problem(f"{service} clock", skew <= MAX_SKEW_SECONDS, "agrees with this machine's", bad)
