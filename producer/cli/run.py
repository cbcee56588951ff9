"""`starmill run`: plan, feed, show progress, print the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from models.errors import ExperimentError, UsageError
from producer.cli.common import open_ledger
from producer.cli.execution import GatewayOption, LocalOption, NoFlowerOption, asked_for, find_or_plan, go_on
from producer.experiments import load_experiment
from producer.feeding.stopping import Stop
from storage.ledger import planning
from storage.logs import configure_logging
from storage.settings import load_settings


def run(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file; not needed to resume")
    ] = None,
    local: LocalOption = False,
    gateway: GatewayOption = False,
    no_flower: NoFlowerOption = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="continue this run as it was")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="a run of its own, even if there is one like it")
    ] = False,
) -> None:
    """Run an experiment. Started again, it goes on where it was; finished, it shows its tables."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    if resume and (experiment or set_ or new):
        raise UsageError("--resume continues a run as it was: give no experiment, --set or --new with it")
    here = asked_for(local, gateway, no_flower, settings)
    if not resume and not experiment:
        raise UsageError("which experiment? `starmill experiments` lists the presets")
    with Stop() as stop, open_ledger(settings) as db:
        if resume:
            chosen = planning.load_run(db, resume)
        else:
            loaded = load_experiment(experiment or "", set_ or [])
            if loaded.grow.enabled:
                raise ExperimentError(
                    loaded.name, "grow.enabled", "is set by `starmill data grow`; leave it out"
                )
            chosen = find_or_plan(db, loaded, settings, local, new)
        go_on(db, chosen, settings, here, stop)
