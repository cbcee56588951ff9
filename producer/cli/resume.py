"""`starmill resume`: let a run go on."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from models.errors import UsageError
from models.experiment import Experiment
from producer.cli.common import RunArgument, open_ledger
from producer.cli.execution import GatewayOption, LocalOption, NoFlowerOption, asked_for, go_on
from producer.feeding.stopping import Stop
from storage.ledger import planning
from storage.logs import configure_logging
from storage.settings import load_settings


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
