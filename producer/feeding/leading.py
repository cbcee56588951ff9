"""One process's part in feeding a run: it leads, or waits for its turn to."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy import exc

from producer.feeding.delivering import delivering
from producer.feeding.feeder import Feeder
from producer.feeding.sharing import Shares
from storage.database import Database
from storage.ledger import feeding, planning
from storage.ledger.planning import Run
from storage.schema import RUNNING
from storage.settings import Settings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.2
SHORT_TICK_SECONDS = 0.05
WATCH_SECONDS = 0.5
LEAD_SECONDS = 2.0
# What the database says while it is away, or has no connection to spare.
AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)


class Feeding:
    """Of any number of processes that offer to feed a run, one leads. It sends units and looks after
    batches; the others take over within seconds of its end. `patience`: seconds until the first offer."""

    def __init__(
        self,
        db: Database,
        run: Run,
        settings: Settings,
        patience: float = 0.0,
        shares: Shares | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.db = db
        self.run = run
        self.leader = ""
        self._feeder = Feeder(db, run, settings, shares=shares)
        self._clock = clock
        self._offer_at = clock() + patience
        self._batches = ExitStack()

    @property
    def leads(self) -> bool:
        return self.leader == self._feeder.name

    @property
    def pause(self) -> float:
        """Seconds until the next tick is due."""
        if not self.leads:
            return WATCH_SECONDS
        # Not in step with others: no run is always the first to fill a queue.
        return random.uniform(0.5, 1.5) * (SHORT_TICK_SECONDS if self._feeder.is_short else TICK_SECONDS)

    def look(self) -> str:
        """Who leads now; nothing where nobody does."""
        return feeding.leader(self.db, self.run.id, time.time())

    def offer(self) -> None:
        """Become the run's leader, or stay it, if nobody else is."""
        before, self.leader = self.leads, self._feeder.lead()
        self._offer_at = self._clock() + LEAD_SECONDS
        if self.leads and not before:
            log.info("run %s: feeding it", self.run.id)
            self._batches.enter_context(delivering(self.db, self.run))
        elif before and not self.leads:
            log.warning("run %s: %s feeds it now", self.run.id, self.leader)
            self._batches.close()

    def tick(self) -> bool:
        """True once the run has ended, or was stopped from elsewhere."""
        if self._clock() >= self._offer_at:
            self.offer()
        ended = self.leads and self._feeder.tick()
        return ended or planning.run_state(self.db, self.run.id)[0] != RUNNING

    def close(self) -> None:
        """Another may take over at once, unless the database is away: then when the lease is over."""
        self._batches.close()
        try:
            self._feeder.close()
        except AWAY as error:
            log.warning("run %s: the database is away: %s", self.run.id, error)
