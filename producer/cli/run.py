"""`starmill run`, `starmill resume` and `starmill data grow`: the commands that feed a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.problems import explain
from models.core.growth import DROPS
from producer.cli import execution
from producer.cli.common import (
    ExperimentArgument,
    JsonOption,
    ReportFormat,
    RunArgument,
    SetOption,
    open_ledger,
    print_json,
)
from producer.cli.confirmation import ConfirmOption, confirm_cost
from producer.cli.execution import GatewayOption, LocalOption, NoFlowerOption
from producer.experiments.load import load_experiment
from producer.feeding.interrupts import StopSignal
from producer.files import require_writable_file
from producer.look_ahead.before_run import tell_before_run
from producer.origin import RunSource
from producer.planning import find_or_plan
from producer.progress.status import Status
from producer.progress.text import dollars
from producer.results.synthetic_set import GrowthYield, write_grown
from producer.runs import RunOptions, finish
from producer.safe_console import console, messages
from storage.database import Database
from storage.ledger import runs
from storage.logs import configure_logging
from storage.settings import Settings, load_settings


def run(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file; not needed to resume")
    ] = None,
    local: LocalOption = False,
    gateway: GatewayOption = False,
    no_flower: NoFlowerOption = False,
    set_: SetOption = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="continue this run as it was")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="a run of its own, even if there is one like it")
    ] = False,
    confirm_above_usd: ConfirmOption = None,
    report: Annotated[
        ReportFormat | None, typer.Option(help="write the whole report to standard output, not the tables")
    ] = None,
) -> None:
    """Run an experiment: plan, tell what it will take, feed, and print the tables. Started again, it
    continues; finished, it shows its tables. What --local starts ends with it."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    if resume and (experiment or set_ or new):
        raise UsageError("--resume continues a run as it was: give no experiment, --set or --new with it")
    options = execution.run_options(local, gateway, no_flower, settings)
    if not resume and not experiment:
        raise UsageError("which experiment? `starmill experiments` lists the presets")
    with StopSignal() as stop, open_ledger(settings) as db:
        if resume:
            chosen = runs.load_run(db, resume)
        else:
            loaded = load_experiment(experiment or "", set_ or [])
            if loaded.grow.enabled:
                raise ExperimentError(
                    loaded.name, "grow.enabled", "is set by `starmill data grow`; leave it out"
                )
            source = RunSource.of_experiment(experiment or "", set_ or [], local=local)
            chosen = find_or_plan(db, loaded, settings, local, messages().print, new, source=source)
        remedy = f": starmill estimate {experiment} asks 5 rows or more" if experiment else ""
        tell_before_run(db, chosen, messages().print, remedy)
        confirm_cost(db, chosen, confirm_above_usd)
        execution.feed_and_report(db, chosen, settings, options, stop, report)


def resume(
    run: RunArgument,
    local: LocalOption = False,
    gateway: GatewayOption = False,
    no_flower: NoFlowerOption = False,
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", metavar="AMOUNT", help="what the run may cost in all")
    ] = None,
) -> None:
    """Continue a run that was paused or interrupted, like `starmill run --resume`."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    options = execution.run_options(local, gateway, no_flower, settings)
    with StopSignal() as stop, open_ledger(settings) as db:
        chosen = runs.load_run(db, run)
        if budget_usd is not None:
            chosen = runs.update_mutable(db, chosen, _with_budget(chosen.experiment, budget_usd))
        execution.feed_and_report(db, chosen, settings, options, stop)


def _with_budget(experiment: Experiment, dollars: float) -> Experiment:
    """Return the experiment with this budget, validated like a file. Raise UsageError."""
    try:
        return Experiment.model_validate(experiment.model_dump() | {"budget_usd": dollars})
    except ValidationError as error:
        raise UsageError(f"--budget-usd {dollars}: {explain(error, Experiment)[1]}") from None


def grow(
    experiment: ExperimentArgument,
    set_: SetOption = None,
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
    continues; finished, it writes the same rows."""
    for path in filter(None, (output, dropped)):
        require_writable_file(path)
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    options = execution.run_options(local, gateway, no_flower, settings)
    with StopSignal() as stop, open_ledger(settings) as db:
        status = _grow(db, experiment, set_ or [], settings, options, stop)
        grown = write_grown(db, status.run, output, dropped)
    if as_json:
        print_json({
            "run": status.run.id, "units": status.units.total(), "failed": status.failed, **grown.document(),
            "cost_usd": status.spending.dollars, "output": str(output) if output else None,
        })  # fmt: skip
    else:
        _print(status, grown)
    if output:
        messages().print(f"wrote {grown.kept.total():,} rows to {output}")
    execution.exit_on_failures(status)


def _grow(
    db: Database,
    experiment: str,
    overrides: list[str],
    settings: Settings,
    options: RunOptions,
    stop: StopSignal,
) -> Status:
    """Find or plan the growth run of this experiment, feed it and return its final status."""
    loaded = load_experiment(experiment, [*overrides, "grow.enabled=true"])
    chosen = find_or_plan(db, loaded, settings, options.local, messages().print)
    status = finish(db, chosen, settings, options, stop)
    execution.exit_unless_ended(status, options)
    return status


def _print(status: Status, grown: GrowthYield) -> None:
    out = console()
    out.print(
        f"run {status.run.id}: {status.units.total():,} units, {status.spending.calls:,} calls, "
        f"{dollars(status)}; of {grown.pairs.total():,} pairs {grown.kept.total():,} are kept"
    )
    if len(grown.pairs) > 1:
        rounds = (f"{number}: {grown.kept[number]:,} of {grown.pairs[number]:,}" for number in grown.pairs)
        out.print(f"by round {', '.join(rounds)}")
    if not grown.dropped:
        return
    table = Table("dropped as", box=None, pad_edge=False)
    table.add_column("pairs", justify="right")
    table.add_column("because it is ...")
    for reason, says in DROPS.items():
        if number := grown.dropped[reason]:
            table.add_row(reason, f"{number:,}", says)
    out.print(table)
