"""Flower behind one password. `celery -A worker flower` and `python -m worker.flower` both come through here.

Flower asks for a login page by page, and leaves some out: `/metrics`, `/healthcheck`. Here the application
asks once, before any handler is chosen.
"""

from __future__ import annotations

import base64
import hmac
import logging
import os
import sys
from typing import Any

import flower.command
from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.options import options
from tornado.web import RequestHandler

from storage.logs import configure_logging
from storage.settings import load_settings

USER = "starmill"
# What Flower's own settings (FLOWER_*, flowerconfig.py, options) may change; its own defaults listen
# everywhere, keep ten times as many tasks, and hide what a task is about.
DEFAULTS = {
    "address": "127.0.0.1",
    "max_tasks": 10_000,
    "max_workers": 500,
    "tasks_columns": "name,args,state,worker,received,runtime,uuid",
}
OTHER_ADDRESSES = ("basic_auth", "auth")


class GuardedFlower(Flower):  # type: ignore[misc]
    """Every route needs user and password, those for files and for what does not exist too."""

    def __init__(self, options: Any = options, **more: Any) -> None:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        login = _login()
        if given := [name for name in OTHER_ADDRESSES if getattr(options, name)]:
            _exit_with(f"set STARMILL_DASHBOARD_PASSWORD instead of Flower's {' and '.join(given)}")
        # Flower's pages check it once more, and its API demands that there is one.
        options.basic_auth = [login]
        self._expected = login.encode()
        super().__init__(options=options, **more)

    def get_handler_delegate(
        self, request: HTTPServerRequest, target_class: type[RequestHandler], *args: Any, **kwargs: Any
    ) -> Any:
        if self._may_see(request):
            return super().get_handler_delegate(request, target_class, *args, **kwargs)
        return super().get_handler_delegate(request, Locked)

    def _may_see(self, request: HTTPServerRequest) -> bool:
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(credentials, validate=True)
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given, self._expected)


class Locked(RequestHandler):
    """401 whatever is asked for, so that nobody learns what there is."""

    def prepare(self) -> None:
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="Starmill"')
        self.finish("Log in.")

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that another site could have asked for."""


def guard() -> None:
    """Make Flower's command, which is about to run, use GuardedFlower and safer defaults."""
    _login()
    for name, value in DEFAULTS.items():
        setattr(options, name, value)
    flower.command.Flower = GuardedFlower


def _login() -> str:
    password = load_settings().dashboard_password
    value = password.get_secret_value() if password else ""
    if not value or not value.isascii():
        _exit_with("set STARMILL_DASHBOARD_PASSWORD to a password of ASCII characters; "
                 f"the user is {USER}")  # fmt: skip
    return f"{USER}:{value}"


def _exit_with(message: str) -> None:
    logging.shutdown()
    sys.stderr.write(f"starmill flower: {message}\n")
    raise SystemExit(2)


def main() -> None:
    """`celery -A worker flower`, under a name that tells it from workers, and after all work."""
    from celery.bin.celery import celery

    os.nice(10)
    celery(["-A", "worker", "flower", *sys.argv[1:]], auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
