"""JSON to a URL of the user's when a run ends, pauses or stands still.

It tells names, counts and costs: no key, no text of a row, and no message of a provider, which may quote one.
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from producer.progress.status import read_status
from producer.progress.wait_lines import cost
from storage.database import Database
from storage.ledger import batches
from storage.ledger.pace import ended_since
from storage.ledger.runs import Run
from storage.schema import PAUSED
from storage.settings import Settings

log = logging.getLogger(__name__)
STANDING_STILL = "standing_still"
LOOK_SECONDS = 15.0
# Counting the units of a large run takes long: at most a fiftieth of the time is spent on it.
LOOK_SHARE = 0.02
# Of each try; then another one is made.
TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 2.0
# The end of the process waits for so long at most.
EXIT_SECONDS = 6.0


class RunNotifier:
    """Watches a run for the process that feeds it. `clock` gives seconds since the epoch."""

    def __init__(
        self, db: Database, run: Run, settings: Settings, clock: Callable[[], float] | None = None
    ) -> None:
        self._db = db
        self._run = run
        self._clock = clock = clock or db.clock
        self._url = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
        self._patience = settings.webhook_standstill_minutes * 60
        self._looked = self._moved = clock()
        self._next_look = self._looked
        self._is_still = False

    def tick(self, *, over: bool) -> None:
        """Send what is to be known. Call it often while the run is fed, and once when it is over."""
        if not self._url:
            return
        now = self._clock()
        if over:
            self._send(None)
            self._url = ""
        elif now >= self._next_look:
            self._look(now)
            pause = min(LOOK_SECONDS, self._patience / 2)
            self._next_look = now + max(pause, (self._clock() - now) / LOOK_SHARE)

    def _look(self, now: float) -> None:
        """Notice if nothing has ended for long. Calls that a provider keeps as a batch may take a day."""
        moves = bool(ended_since(self._db, self._run.id, self._looked))
        if moves or batches.unsettled(self._db, self._run.id):
            self._moved, self._is_still = now, False
        elif not self._is_still and now - self._moved >= self._patience:
            self._is_still = True
            self._send(STANDING_STILL)
        self._looked = now

    def _send(self, event: str | None) -> None:
        now = self._clock()
        status = read_status(self._db, self._run, now)
        document = {
            "event": event or status.state,
            "run": self._run.id,
            "experiment": self._run.name,
            "state": status.state,
            "units": {"planned": self._run.planned, **status.units},
            "calls": status.spending.calls,
            "cost_usd": status.spending.dollars,
            "seconds": round(now - self._run.started_at),
        }
        minutes = round((now - self._moved) / 60)
        what = f"stands still: nothing has ended for {minutes} min" if event else f"is {status.state}"
        why = f"; `starmill status {self._run.id}` says why" if event or status.state == PAUSED else ""
        failed = f", {status.failed:,} failed" if status.failed else ""
        money = cost(status.spending.cost_nano_usd, status.unpriced)
        done = f"{self._run.planned - status.left:,} of {self._run.planned:,} units ended{failed}"
        document["text"] = f"Run {self._run.id} {what}. {done}, cost {money}{why}"
        sender = threading.Thread(target=post, args=(self._url, document), daemon=True)
        sender.start()
        atexit.register(sender.join, EXIT_SECONDS)


def post(url: str, document: dict[str, Any]) -> None:
    """Post the document, and once more after a failure, of which the second is logged."""
    from http.client import HTTPException
    from urllib.request import Request, urlopen  # which a run without a webhook need not load

    body = json.dumps(document).encode()
    problem = ""
    for pause in (RETRY_SECONDS, 0.0):
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "starmill"}
            with urlopen(Request(url, body, headers), timeout=TIMEOUT_SECONDS):  # noqa: S310 (checked by Settings)
                return
        except (OSError, ValueError, HTTPException) as error:
            problem = _problem(error)
        time.sleep(pause)
    log.warning(
        "the webhook at %s was not told of run %s: %s", urlsplit(url).hostname, document["run"], problem
    )


def _problem(error: Exception) -> str:
    """Return the cause without the URL, which may hold a secret."""
    match error:
        case HTTPError(code=code):
            error.close()
            return f"it answers {code}"
        case URLError(reason=OSError() as reason):
            return reason.strerror or type(reason).__name__
    return getattr(error, "strerror", None) or type(error).__name__
