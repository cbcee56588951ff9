"""`starmill feed`: the feeder as a service."""

from __future__ import annotations

import logging
import time
from contextlib import closing, suppress

from models.errors import ServiceError
from producer.feeding.service import FeedService
from producer.feeding.stopping import Stop
from storage.database import Database
from storage.logs import configure_logging
from storage.settings import load_settings

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0


def feed() -> None:
    """Feed every running run until stopped; start as many as you like, they stand in for each other."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    # To be stopped is how a service ends: that is no failure.
    with suppress(KeyboardInterrupt), Stop() as stop, closing(Database(settings.database)) as db:
        service = FeedService(db, settings)
        _wait_for(db)
        log.info("feeding the runs of %s", db)
        service.serve(stop)


def _wait_for(db: Database) -> None:
    while True:
        try:
            db.migrate()
        except ServiceError as error:
            log.warning("%s; trying again", error)
            time.sleep(RETRY_SECONDS)
        else:
            return
