"""`starmill pause`: stop a run from anywhere."""

from __future__ import annotations

from models.errors import UsageError
from producer.cli.common import RunArgument, messages, open_ledger
from storage.ledger import planning
from storage.ledger.planning import Run
from storage.schema import FINISHED, PLANNED


def pause(run: RunArgument) -> None:
    """Pause a running run: calls in flight are finished, no more are made, and `starmill run` ends."""
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        if not planning.stop_run(db, chosen.id, "paused by hand", paused=True):
            raise UsageError(_why_not(planning.load_run(db, chosen.id)))
    messages().print(f"run {chosen.id} is paused; continue with: starmill resume {chosen.id}")


def _why_not(run: Run) -> str:
    """A run that is not running needs no pause."""
    if run.state == FINISHED:
        return f"run {run.id} is finished: there is nothing to pause"
    if run.state == PLANNED:
        return f"run {run.id} has not started: start it with `starmill resume {run.id}`"
    why = f" ({run.message})" if run.message else ""
    return f"run {run.id} is {run.state} already{why}: continue it with `starmill resume {run.id}`"
