"""Flower behind one password, for `celery -A worker flower` and `python -m worker.flower`.

Flower checks the login page by page and leaves out some, such as `/metrics` and `/healthcheck`. Here the
application checks it once, before it chooses a handler.
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
from flower.views.broker import BrokerView
from tornado.httputil import HTTPServerRequest
from tornado.options import options
from tornado.web import RequestHandler

from models.core.display import visible
from storage.limits.usage import connect_reader
from storage.logs import configure_logging
from storage.password_tries import PasswordTries, TooManyTries
from storage.settings import load_settings

USER = "starmill"
# Flower's own settings (FLOWER_*, flowerconfig.py, options) may override these. Its own defaults listen on
# all addresses, keep ten times more tasks, and hide the arguments of tasks.
DEFAULTS = {
    "address": "127.0.0.1",
    "max_tasks": 10_000,
    "max_workers": 500,
    "tasks_columns": "name,args,state,worker,received,runtime,uuid",
}
# Celery notes each queue that is declared in a key of this name; these are for its own messages.
DECLARED = "_kombu.binding."
OF_CELERY = ("pidbox", "celeryev")
OTHER_LOGINS = ("basic_auth", "auth")


class GuardedFlower(Flower):  # type: ignore[misc]
    """Every route needs user and password, also routes of files and unknown routes."""

    def __init__(self, options: Any = options, **more: Any) -> None:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        login = _login()
        if given := [name for name in OTHER_LOGINS if getattr(options, name)]:
            _exit_with(f"set STARMILL_DASHBOARD_PASSWORD instead of Flower's {' and '.join(given)}")
        # Flower's pages check it again, and its API needs one.
        options.basic_auth = [login]
        self._expected = login.encode()
        self._tries = PasswordTries()
        super().__init__(options=options, **more)

    def get_handler_delegate(
        self, request: HTTPServerRequest, target_class: type[RequestHandler], *args: Any, **kwargs: Any
    ) -> Any:
        try:
            if self._is_authorized(request):
                view = QueueView if target_class is BrokerView else target_class
                return super().get_handler_delegate(request, view, *args, **kwargs)
        except TooManyTries as error:
            return super().get_handler_delegate(request, Locked, {"too_many": error})
        return super().get_handler_delegate(request, Locked)

    def _is_authorized(self, request: HTTPServerRequest) -> bool:
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(credentials, validate=True)
        except ValueError:
            return False
        if kind.lower() != "basic":
            return False
        return self._tries.admits(hmac.compare_digest(given, self._expected), request.remote_ip or "")


class QueueView(BrokerView):  # type: ignore[misc]
    """Lists the queues that runs and workers use. Flower itself knows only those of workers that it asked,
    and without them a queue `celery` that there is not."""

    def get_active_queue_names(self) -> list[str]:
        with connect_reader(load_settings().broker) as client:
            declared = (str(key).removeprefix(DECLARED) for key in client.scan_iter(f"{DECLARED}*"))
            return sorted(name for name in declared if not name.endswith(OF_CELERY))


class Locked(RequestHandler):
    """Answers every request with 401, so that it does not show which pages exist; with 429 who guesses."""

    def initialize(self, too_many: TooManyTries | None = None) -> None:
        self._too_many = too_many

    def prepare(self) -> None:
        if self._too_many:
            self.set_status(429)
            self.set_header("Retry-After", str(round(self._too_many.seconds + 0.5)))
            self.finish(f"{self._too_many}\n")
            return
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="Starmill"')
        self.finish("Log in.")

    def check_xsrf_cookie(self) -> None:
        """Skip the check: nothing is changed here."""


def guard() -> None:
    """Make Flower's command use GuardedFlower and safer defaults, before it runs."""
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
    sys.stderr.write(f"starmill flower: {visible(message)}\n")
    raise SystemExit(2)


def main() -> None:
    """Run `celery -A worker flower` as a process with a name of its own and low priority."""
    from celery.bin.celery import celery

    os.nice(10)
    celery(["-A", "worker", "flower", *sys.argv[1:]], auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
