"""Logs on standard error: one line of text, or one JSON object, for each record.

Both carry the known fields among `run`, `stage`, `unit` and `worker`. Several ids of one call or task are
separated by commas.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from models.core.display import visible, visible_json

NOISY = ("httpx", "httpx2", "openai", "pymilvus", "alembic", "kombu", "amqp", "asyncio", "urllib3",
         # Two lines for each task, which the ledger and Flower have too.
         "celery.app.trace", "celery.worker.strategy")  # fmt: skip
# The dot matches `openai._base_client` but not `openai_server`.
_NOISY_TREES = tuple(f"{name}." for name in NOISY)
MINUTE = 60.0
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 (nobody writes into it)


def set_about(**fields: str) -> None:
    """Set the fields of lines of this thread or task and of those that it starts."""
    _about.set(fields)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Add fields to lines within the block."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class About(logging.Filter):
    """Adds the fields to each record, and drops records of noisy libraries below WARNING.

    Their own level does not matter: at DEBUG they print requests.
    """

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._process = {"worker": worker} if worker else {}

    def filter(self, record: logging.LogRecord) -> bool:
        record.about = {**_about.get(), **self._process}
        return record.levelno >= logging.WARNING or not f"{record.name}.".startswith(_NOISY_TREES)


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.fields = "".join(f" {name}={value}" for name, value in _log_fields(record).items())
        return visible(super().format(record))


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            **_log_fields(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return visible_json(json.dumps(entry, ensure_ascii=False))


class OncePerMinute:
    """Logs warnings, the same one at most once a minute. `clock` gives seconds."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._logged: dict[str, float] = {}

    def warning(self, message: str, more: str = "") -> None:
        """Messages are the same if they begin alike, up to a colon; `more` is what is done about it."""
        kind, now = f"{message.partition(':')[0]}{more}", self._clock()
        if now - self._logged.get(kind, float("-inf")) >= MINUTE:
            # Those of old are dropped, so that odd messages fill no memory in months.
            self._logged = {each: at for each, at in self._logged.items() if now - at < MINUTE}
            self._logged[kind] = now
            self._log.warning("%s%s", message, f"; {more}" if more else "")


def configure_logging(level: str, form: str, worker: str = "") -> None:
    """Log at `level` in the form `text` or `json`; noisy libraries log from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextLines("%(asctime)s %(levelname)s %(name)s%(fields)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    handler.addFilter(About(worker))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def _log_fields(record: logging.LogRecord) -> Mapping[str, str]:
    fields: Mapping[str, str] = getattr(record, "about", {})
    return fields
