"""Logs go to standard error: one line of text, or one JSON object, for each record."""

from __future__ import annotations

import json
import logging
import sys

NOISY = ("httpx", "httpx2", "openai", "pymilvus", "alembic", "kombu", "amqp", "asyncio", "urllib3",
         # Two lines for each task: the ledger and Flower tell the same.
         "celery.app.trace", "celery.worker.strategy")  # fmt: skip


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str, form: str) -> None:
    """`form` is `text` or `json`. Libraries that chat at INFO are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
