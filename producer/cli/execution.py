"""The options of commands that feed a run, and what they print at its end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from models.core.errors import UsageError
from producer.cli import FINISHED_WITH_FAILURES, INTERRUPTED
from producer.cli.common import ReportFormat
from producer.feeding.interrupts import StopSignal
from producer.local.home_services import line_for_another_worker
from producer.progress import text
from producer.progress.status import Status
from producer.runs import RunOptions, finish, require_ended
from producer.safe_console import console, messages
from storage.database import Database
from storage.ledger.runs import Run
from storage.schema import FINISHED, PAUSED
from storage.settings import Settings

LocalOption = Annotated[bool, typer.Option("--local", help="start Redis, model and worker here as well")]
GatewayOption = Annotated[
    bool, typer.Option("--gateway", help="with --local: calls outlive a killed worker, and are paid once")
]
NoFlowerOption = Annotated[
    bool, typer.Option("--no-flower", help="start no Flower beside a local run, though it is installed")
]


def run_options(local: bool, gateway: bool, no_flower: bool, settings: Settings) -> RunOptions:
    """Return the options. Raise UsageError if they or the gateway's URL cannot be used."""
    if gateway and not local:
        raise UsageError("--gateway goes with --local; elsewhere start `python -m worker.gateway` "
                         "and set STARMILL_GATEWAY_URL for it and for the workers")  # fmt: skip
    if settings.gateway_url:
        from models.adapters.backends.gateway_client import address_and_token  # with every backend

        address_and_token(settings.gateway_url.get_secret_value())
    given = " --local" * local + " --gateway" * gateway + " --no-flower" * no_flower

    def say_how_to_add_a_worker(run: Run) -> None:
        messages().print(line_for_another_worker(run.experiment, settings), soft_wrap=True)

    def way_on(run: Run) -> str:
        return f"continue with: starmill run --resume {run.id}{given}"

    return RunOptions(local, gateway, not no_flower, way_on, say_how_to_add_a_worker)


def feed_and_report(
    db: Database,
    run: Run,
    settings: Settings,
    options: RunOptions,
    stop: StopSignal,
    report: ReportFormat | None = None,
) -> None:
    """Feed the run until it ends, then print its tables, or on standard output nothing but its whole report.
    Raise typer.Exit unless it succeeded."""
    grows = run.experiment.grow.enabled
    if run.state == FINISHED and not grows:
        messages().print(f"run {run.id} is finished; `starmill run --new` runs it again")
    status = finish(db, run, settings, options, stop)
    (messages() if report else console()).print(text.progress(status))
    exit_unless_ended(status, options)
    if grows:
        messages().print("what was grown is written by the `starmill data grow` that began the run")
    elif report:
        _write_report(db, status.run, report)
    else:
        _print_tables(db, status.run)
    exit_on_failures(status)


def exit_unless_ended(status: Status, options: RunOptions) -> None:
    """Raise UsageError if the run is paused, typer.Exit if it was stopped from elsewhere."""
    try:
        require_ended(status, options)
    except UsageError as error:
        if status.state == PAUSED:
            raise
        messages().print(str(error))
        raise typer.Exit(INTERRUPTED) from None


def _write_report(db: Database, run: Run, report: ReportFormat) -> None:
    from producer.results.report.build import build_report
    from producer.results.report.formats import RENDERERS

    sys.stdout.write(RENDERERS[report](build_report(db, run, page=report == "html")))


def _print_tables(db: Database, run: Run) -> None:
    # With numpy, which a run need not wait for.
    from producer.results.report.build import build_report
    from producer.results.report.synthetic_samples import read_synthetic_samples
    from producer.results.report.terminal import line_to_repeat, rows_to_look_at, summary_tables

    out, built = console(), build_report(db, run, brief=True)
    for table in summary_tables(built):
        out.print()
        out.print(table)
    if line := line_to_repeat(built):
        out.print(Text(line), soft_wrap=True)
    samples = () if run.experiment.steps else read_synthetic_samples(db, run)
    for line in rows_to_look_at(run.id, samples):
        messages().print(line, soft_wrap=True)


def exit_on_failures(status: Status) -> None:
    """Raise typer.Exit if units failed, and print what to do."""
    if status.failed:
        messages().print(f"{status.failed:,} units failed: `starmill failures {status.run.id}` shows why, "
                         f"`starmill retry {status.run.id}` sends them again")  # fmt: skip
        raise typer.Exit(FINISHED_WITH_FAILURES)
