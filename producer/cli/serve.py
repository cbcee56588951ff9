"""`starmill serve`: all runs as a web page. `starmill feed`: the feeder as a service."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import secrets
import time
from contextlib import closing, suppress
from typing import Annotated

import typer

from models.core.errors import ServiceError, UsageError
from producer.cli.common import open_ledger
from producer.feeding.interrupts import StopSignal
from producer.feeding.service import FeedService
from producer.safe_console import messages
from storage.database import Database, ForeignSchema
from storage.logs import configure_logging
from storage.settings import Settings, load_settings

MODULES = ("starlette", "uvicorn", "jinja2", "prometheus_client")
MIN_PASSWORD = 8
# A page reads now and then: it does not need the whole ledger in memory.
CACHE_MIB = 2


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 picks a free one")] = 8321,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="a name, beside localhost, under which browsers may ask for it"),
    ] = None,
) -> None:
    """Show all runs as a web page behind a password, and as metrics; read-only."""
    if missing := [module for module in MODULES if importlib.util.find_spec(module) is None]:
        raise UsageError(
            f"not installed: {', '.join(missing)}; `starmill serve` needs the extra `serve`: "
            "pip install 'starmill[serve]'"
        )
    from producer.serve import server

    settings = load_settings()
    password = _password(settings, host)
    configure_logging(settings.log_level, settings.log_format)
    with open_ledger(settings, cache_mib=CACHE_MIB) as db:
        listener = server.listen(host, port)
        url_host = f"[{host}]" if ":" in host else host
        out = messages()
        out.print(f"run page: http://{url_host}:{listener.getsockname()[1]}")
        if settings.dashboard_password is None:
            out.print(f"password: {password} (of this start; STARMILL_DASHBOARD_PASSWORD sets another)")
        server.serve(db, settings, password, listener, {host, *(allow_host or [])})


def _password(settings: Settings, host: str) -> str:
    """Return the password that is set, or a random one for a page that only this machine can open."""
    if settings.dashboard_password is None:
        if not _is_loopback(host):
            raise ServiceError(f"--host {host} is open to others: set STARMILL_DASHBOARD_PASSWORD")
        return secrets.token_urlsafe(12)
    password = settings.dashboard_password.get_secret_value()
    if len(password) < MIN_PASSWORD:
        raise ServiceError(
            f"STARMILL_DASHBOARD_PASSWORD is too short: give at least {MIN_PASSWORD} characters"
        )
    return password


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0


def feed() -> None:
    """Feed every running run until stopped. Several services share the runs and replace each other;
    `starmill run` then plans and watches."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    # A service ends by being stopped: that is no failure.
    with suppress(KeyboardInterrupt), StopSignal() as stop, closing(Database(settings.database)) as db:
        service = FeedService(db, settings)
        _wait_for(db)
        log.info("feeding the runs of %s", db)
        service.serve(stop)


def _wait_for(db: Database) -> None:
    while True:
        try:
            db.migrate()
        except ForeignSchema:
            raise
        except ServiceError as error:
            log.warning("%s; trying again", error)
            time.sleep(RETRY_SECONDS)
        else:
            return
