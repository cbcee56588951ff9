"""`starmill pause` and `starmill resume`: stop a run from anywhere, and let it go on."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from models.errors import UsageError
from models.experiment import Experiment
from producer.cli.common import RunArgument, messages, open_ledger
from producer.cli.run import GatewayOption, LocalOption, NoFlowerOption, asked_for, go_on
from producer.feeding.stopping import Stop
from storage.ledger import planning
from storage.ledger.planning import Run
from storage.logs import configure_logging
from storage.schema import FINISHED, PLANNED
from storage.settings import load_settings


def pause(run: RunArgument) -> None:
    """Pause a running run: calls in flight are finished, no more are made, and `starmill run` ends."""
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        if not planning.stop_run(db, chosen.id, "paused by hand", paused=True):
            raise UsageError(_why_not(planning.load_run(db, chosen.id)))
    messages().print(f"run {chosen.id} is paused; continue with: starmill resume {chosen.id}")


def resume(
    run: RunArgument,
    local: LocalOption = False,
    gateway: GatewayOption = False,
    no_flower: NoFlowerOption = False,
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", metavar="AMOUNT", help="what the run may cost in all")
    ] = None,
) -> None:
    """Go on with a run that was paused or interrupted, as `starmill run --resume` does."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    here = asked_for(local, gateway, no_flower, settings)
    with Stop() as stop, open_ledger(settings) as db:
        chosen = planning.load_run(db, run)
        if budget_usd is not None:
            chosen = planning.steer_run(db, chosen, _with_budget(chosen.experiment, budget_usd))
        go_on(db, chosen, settings, here, stop)


def _with_budget(experiment: Experiment, dollars: float) -> Experiment:
    """Validated as in a file. Raises UsageError."""
    try:
        return Experiment.model_validate(experiment.model_dump() | {"budget_usd": dollars})
    except ValidationError as error:
        raise UsageError(f"--budget-usd {dollars}: {error.errors()[0]['msg']}") from None


def _why_not(run: Run) -> str:
    """A run that is not running needs no pause."""
    if run.state == FINISHED:
        return f"run {run.id} is finished: there is nothing to pause"
    if run.state == PLANNED:
        return f"run {run.id} has not started: start it with `starmill resume {run.id}`"
    why = f" ({run.message})" if run.message else ""
    return f"run {run.id} is {run.state} already{why}: continue it with `starmill resume {run.id}`"
