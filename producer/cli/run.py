"""`starmill run`: plan, feed, show progress, print the tables.

`starmill resume`: let a run go on.

`starmill data grow`: new requests, written by the teacher as train examples show it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.growth import DROPS
from producer.cli.common import JsonOption, RunArgument, console, messages, open_ledger, print_json
from producer.cli.execution import (
    GatewayOption,
    Here,
    LocalOption,
    NoFlowerOption,
    asked_for,
    conclude_failures,
    execute,
    find_or_plan,
    go_on,
    require_ended,
)
from producer.experiments import load_experiment
from producer.feeding.interrupts import Stop
from producer.files import require_place
from producer.progress.status import Status, read_status
from producer.results.synthetic_set import Yield, write_grown
from storage.database import Database
from storage.ledger import runs
from storage.logs import configure_logging
from storage.schema import FINISHED
from storage.settings import Settings, load_settings


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
            chosen = runs.load_run(db, resume)
        else:
            loaded = load_experiment(experiment or "", set_ or [])
            if loaded.grow.enabled:
                raise ExperimentError(
                    loaded.name, "grow.enabled", "is set by `starmill data grow`; leave it out"
                )
            chosen = find_or_plan(db, loaded, settings, local, new)
        go_on(db, chosen, settings, here, stop)


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
        chosen = runs.load_run(db, run)
        if budget_usd is not None:
            chosen = runs.update_mutable(db, chosen, _with_budget(chosen.experiment, budget_usd))
        go_on(db, chosen, settings, here, stop)


def _with_budget(experiment: Experiment, dollars: float) -> Experiment:
    """Validated as in a file. Raises UsageError."""
    try:
        return Experiment.model_validate(experiment.model_dump() | {"budget_usd": dollars})
    except ValidationError as error:
        raise UsageError(f"--budget-usd {dollars}: {error.errors()[0]['msg']}") from None


def grow(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment")
    ] = None,
    local: LocalOption = False,
    gateway: GatewayOption = False,
    no_flower: NoFlowerOption = False,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE.jsonl", help="write the rows that are kept")
    ] = None,
    dropped: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="write the rows that are dropped, and why")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the teacher write new requests from the train examples, and keep what is new. Started again, it
    goes on where it was; finished, it writes the same rows."""
    for path in filter(None, (output, dropped)):
        require_place(path)
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    here = asked_for(local, gateway, no_flower, settings)
    with Stop() as stop, open_ledger(settings) as db:
        status = _grown(db, experiment, set_ or [], settings, here, stop)
        found = write_grown(db, status.run, output, dropped)
    if as_json:
        print_json({
            "run": status.run.id, "units": status.units.total(), "failed": status.failed, **found.document(),
            "cost_usd": status.spending.dollars, "output": str(output) if output else None,
        })  # fmt: skip
    else:
        _print(status, found)
    if output:
        messages().print(f"wrote {found.kept.total():,} rows to {output}")
    conclude_failures(status)


def _grown(
    db: Database, experiment: str, overrides: list[str], settings: Settings, here: Here, stop: Stop
) -> Status:
    """The run of growth of this experiment, once it has ended."""
    loaded = load_experiment(experiment, [*overrides, "grow.enabled=true"])
    chosen = find_or_plan(db, loaded, settings, here.local)
    if chosen.state == FINISHED:
        return read_status(db, chosen, time.time())
    status = execute(db, chosen, settings, here, stop)
    require_ended(status, here)
    return status


def _print(status: Status, found: Yield) -> None:
    out = console()
    out.print(
        f"run {status.run.id}: {status.units.total():,} units, {status.spending.calls:,} calls, "
        f"${status.spending.dollars:.4f}; of {found.pairs.total():,} pairs {found.kept.total():,} are kept"
    )
    if len(found.pairs) > 1:
        of_rounds = (f"{number}: {found.kept[number]:,} of {found.pairs[number]:,}" for number in found.pairs)
        out.print(f"by round {', '.join(of_rounds)}")
    if not found.dropped:
        return
    table = Table("dropped as", box=None, pad_edge=False)
    table.add_column("pairs", justify="right")
    table.add_column("because it is ...")
    for reason, says in DROPS.items():
        if number := found.dropped[reason]:
            table.add_row(reason, f"{number:,}", says)
    out.print(table)
