"""Plan, feed and conclude a run: shared by `run`, `resume` and `data grow`."""

from __future__ import annotations

import secrets
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from models.adapters.backends.gateway_client import address_and_token
from models.adapters.sandbox.runner import Sandbox
from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from producer.cli import FINISHED_WITH_FAILURES, INTERRUPTED
from producer.cli.common import console, messages
from producer.cli.index_progress import bring_up_to_date
from producer.experiments.datasets import check_right_passages, read_dataset, require_tests
from producer.experiments.load import pin_recordings
from producer.experiments.task_check import check_prompts
from producer.feeding.interrupts import StopSignal
from producer.feeding.run_loop import StoppedWatching, feed_or_watch
from producer.local.local_stack import local_stack
from producer.progress import text
from producer.progress.live import shown_progress
from producer.progress.status import Status, read_status
from producer.results.report.build import build_report
from producer.results.report.terminal import summary_tables
from storage.broker import Queues
from storage.database import Database
from storage.ledger import batches, runs
from storage.ledger.runs import Run
from storage.schema import FINISHED, PAUSED, PLANNED, TRAIN
from storage.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """The options that start services on this machine. Its text is these options again."""

    local: bool
    gateway: bool
    no_flower: bool

    def __str__(self) -> str:
        return " --local" * self.local + " --gateway" * self.gateway + " --no-flower" * self.no_flower


LocalOption = Annotated[bool, typer.Option("--local", help="start Redis, model and worker here as well")]
GatewayOption = Annotated[
    bool, typer.Option("--gateway", help="with --local: calls outlive a killed worker, and are paid once")
]
NoFlowerOption = Annotated[
    bool, typer.Option("--no-flower", help="with --local: start no Flower, though it is installed")
]


def local_options(local: bool, gateway: bool, no_flower: bool, settings: Settings) -> LocalOptions:
    """Return the options. Raise UsageError if they or the gateway's URL cannot be used."""
    if gateway and not local:
        raise UsageError("--gateway goes with --local; elsewhere start `python -m worker.gateway` "
                         "and set STARMILL_GATEWAY_URL for it and for the workers")  # fmt: skip
    if settings.gateway_url:
        address_and_token(settings.gateway_url.get_secret_value())
    return LocalOptions(local, gateway, no_flower)


def feed_and_report(
    db: Database, run: Run, settings: Settings, options: LocalOptions, stop: StopSignal
) -> None:
    """Feed the run until it ends, then print its tables. Raise typer.Exit unless it succeeded."""
    if run.state == FINISHED:
        if not run.experiment.grow.enabled:
            messages().print(f"run {run.id} is finished; `starmill run --new` runs it again")
        status = read_status(db, run, time.time())
    else:
        status = feed(db, run, settings, options, stop)
    _print_end(db, status, options)


def find_or_plan(
    db: Database, experiment: Experiment, settings: Settings, local: bool, new: bool = False
) -> Run:
    """Return the run of this experiment, or check everything and plan a new one."""
    experiment = pin_recordings(experiment)
    splits = read_dataset(experiment.dataset)
    if not experiment.grow.enabled:
        check_right_passages(experiment, splits)
        require_tests(experiment, splits)
    check_prompts(experiment, splits[TRAIN])
    existing = None if new else runs.find_run(db, experiment, runs.dataset_hash(splits))
    if existing:
        return runs.update_mutable(db, existing, experiment)
    if not local:
        Queues(settings.broker).check()
    elif experiment.executes:
        Sandbox(experiment.judge.limits).check()
    _build_index(experiment, settings)
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{experiment.name}-grow" if experiment.grow.enabled else experiment.name
    run_id = f"{name}-{stamp}-{secrets.token_hex(2)}"
    planned = runs.plan_run(db, run_id, experiment, splits, time.time())
    messages().print(f"run {planned.id}: {planned.planned:,} units planned")
    return planned


def _build_index(experiment: Experiment, settings: Settings) -> None:
    if experiment.grow.enabled:
        return
    index, _ = bring_up_to_date(experiment, settings)
    if index.encoded:
        messages().print(f"index {index.name}: {index.count:,} passages, {index.encoded:,} newly encoded")


def feed(db: Database, run: Run, settings: Settings, options: LocalOptions, stop: StopSignal) -> Status:
    """Feed the run until it ends or is stopped from elsewhere. Return its status."""
    try:
        if run.state != PLANNED:
            _build_index(run.experiment, settings)
        flower = not options.no_flower
        stack = (
            local_stack(run.experiment, settings, options.gateway, flower) if options.local else nullcontext()
        )
        with stack as started:
            if started and started.flower:
                messages().print(started.flower)
            used = started.settings if started else settings
            Queues(used.broker).check()
            try:
                with shown_progress(messages()) as show:
                    return feed_or_watch(db, run, used, started.supervisor if started else None, show, stop)
            except StoppedWatching:
                raise
            except KeyboardInterrupt:
                runs.stop_run(db, run.id, "stopped by hand")
                messages().print("stopping: calls in flight are finished first")
                if open_batches := len(batches.unsettled(db, run.id)):
                    messages().print(f"batches that go on at the provider: {open_batches}; "
                                     "their answers are fetched when the run goes on")  # fmt: skip
                raise
    except StoppedWatching as stopped:
        messages().print(f"run {run.id} goes on, fed by {stopped.leader}; "
                         f"stop it with `starmill pause {run.id}`")  # fmt: skip
        raise
    except KeyboardInterrupt:
        messages().print(f"run {run.id} was stopped; {_resume_hint(run, options)}")
        raise


def _print_end(db: Database, status: Status, options: LocalOptions) -> None:
    out = console()
    out.print(text.progress(status))
    require_ended(status, options)
    if status.run.experiment.grow.enabled:
        messages().print("what was grown is written by the `starmill data grow` that began the run")
    else:
        _print_tables(db, status.run)
    exit_on_failures(status)


def require_ended(status: Status, options: LocalOptions) -> None:
    """Raise UsageError if the run is paused, typer.Exit if it was stopped from elsewhere."""
    if status.state == PAUSED:
        raise UsageError(
            f"run {status.run.id} is paused: {status.message}; {_resume_hint(status.run, options)}"
        )
    if status.left:
        messages().print(f"run {status.run.id} was stopped from elsewhere: {status.message}; "
                         f"{_resume_hint(status.run, options)}")  # fmt: skip
        raise typer.Exit(INTERRUPTED)


def _print_tables(db: Database, run: Run) -> None:
    out = console()
    for table in summary_tables(build_report(db, run)):
        out.print()
        out.print(table)


def exit_on_failures(status: Status) -> None:
    """Raise typer.Exit if units failed, and print what to do."""
    if status.failed:
        messages().print(f"{status.failed:,} units failed: `starmill failures {status.run.id}` shows why, "
                         f"`starmill retry {status.run.id}` sends them again")  # fmt: skip
        raise typer.Exit(FINISHED_WITH_FAILURES)


def _resume_hint(run: Run, options: LocalOptions) -> str:
    return f"continue with: starmill run --resume {run.id}{options}"
