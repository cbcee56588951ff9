"""What `run`, `resume` and `data grow` share: a run planned, fed until it ends, and what is said of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.live import Live

from models.adapters.backends.gateway_client import address_and_token
from models.adapters.sandbox.runner import Sandbox
from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from producer.cli import FINISHED_WITH_FAILURES, INTERRUPTED
from producer.cli.common import console, messages
from producer.cli.index_progress import bring_up_to_date
from producer.experiments.load.datasets import check_right_passages, read_dataset, require_tests
from producer.experiments.load.load import pin_recordings
from producer.experiments.load.task_check import check_prompts
from producer.feeding.interrupts import Stop
from producer.feeding.run_loop import StoppedWatching, drive
from producer.local.local_stack import local_stack
from producer.progress import text
from producer.progress.status import Status, read_status
from producer.results.report.build import build_report
from producer.results.report.terminal import tables
from storage.broker import Queues
from storage.database import Database
from storage.ledger import batches, runs
from storage.ledger.runs import Run
from storage.schema import FINISHED, PAUSED, PLANNED, TRAIN
from storage.settings import Settings

LINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Here:
    """What is started on this machine; as text, the options that ask for it."""

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


def asked_for(local: bool, gateway: bool, no_flower: bool, settings: Settings) -> Here:
    """Raises UsageError where the options or the gateway's URL cannot be used."""
    if gateway and not local:
        raise UsageError("--gateway goes with --local; elsewhere start `python -m worker.gateway` "
                         "and set STARMILL_GATEWAY_URL for it and for the workers")  # fmt: skip
    if settings.gateway_url:
        address_and_token(settings.gateway_url.get_secret_value())
    return Here(local, gateway, no_flower)


def go_on(db: Database, chosen: Run, settings: Settings, here: Here, stop: Stop) -> None:
    """Until the run ends, and then its tables. Raises typer.Exit with the code that tells how it ended,
    UsageError where it is paused."""
    if chosen.state == FINISHED:
        if not chosen.experiment.grow.enabled:
            messages().print(f"run {chosen.id} is finished; `starmill run --new` runs it again")
        status = read_status(db, chosen, time.time())
    else:
        status = execute(db, chosen, settings, here, stop)
    _conclude(db, status, here)


def find_or_plan(
    db: Database, experiment: Experiment, settings: Settings, local: bool, new: bool = False
) -> Run:
    """Everything that can be wrong is looked at before the run is written."""
    experiment = pin_recordings(experiment)
    splits = read_dataset(experiment.dataset)
    if not experiment.grow.enabled:
        check_right_passages(experiment, splits)
        require_tests(experiment, splits)
    check_prompts(experiment, splits[TRAIN])
    found = None if new else runs.find_run(db, experiment, runs.dataset_hash(splits))
    if found:
        return runs.update_mutable(db, found, experiment)
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


def execute(db: Database, chosen: Run, settings: Settings, here: Here, stop: Stop) -> Status:
    """Until the run ends, or is stopped from elsewhere; how it stands then. Raises KeyboardInterrupt."""
    try:
        if chosen.state != PLANNED:
            _build_index(chosen.experiment, settings)
        flower = not here.no_flower
        stack = (
            local_stack(chosen.experiment, settings, here.gateway, flower) if here.local else nullcontext()
        )
        with stack as started:
            if started and started.flower:
                messages().print(started.flower)
            used = started.settings if started else settings
            Queues(used.broker).check()
            try:
                with _progress() as show:
                    return drive(db, chosen, used, started.supervisor if started else None, show, stop)
            except StoppedWatching:
                raise
            except KeyboardInterrupt:
                runs.stop_run(db, chosen.id, "stopped by hand")
                messages().print("stopping: calls in flight are finished first")
                if open_batches := len(batches.unsettled(db, chosen.id)):
                    messages().print(f"batches that go on at the provider: {open_batches}; "
                                     "their answers are fetched when the run goes on")  # fmt: skip
                raise
    except StoppedWatching as watched:
        messages().print(f"run {chosen.id} goes on, fed by {watched.leader}; "
                         f"stop it with `starmill pause {chosen.id}`")  # fmt: skip
        raise
    except KeyboardInterrupt:
        messages().print(f"run {chosen.id} was stopped; {_how_to_resume(chosen, here)}")
        raise


def _conclude(db: Database, status: Status, here: Here) -> None:
    out = console()
    out.print(text.progress(status))
    require_ended(status, here)
    if status.run.experiment.grow.enabled:
        messages().print("what was grown is written by the `starmill data grow` that began the run")
    else:
        _print_tables(db, status.run)
    conclude_failures(status)


def require_ended(status: Status, here: Here) -> None:
    """Raise UsageError where the run is paused, typer.Exit where it was stopped from elsewhere."""
    if status.state == PAUSED:
        raise UsageError(
            f"run {status.run.id} is paused: {status.message}; {_how_to_resume(status.run, here)}"
        )
    if status.left:
        messages().print(f"run {status.run.id} was stopped from elsewhere: {status.message}; "
                         f"{_how_to_resume(status.run, here)}")  # fmt: skip
        raise typer.Exit(INTERRUPTED)


def _print_tables(db: Database, run: Run) -> None:
    out = console()
    for table in tables(build_report(db, run)):
        out.print()
        out.print(table)


def conclude_failures(status: Status) -> None:
    """Raise typer.Exit where units failed, and say what to do."""
    if status.failed:
        messages().print(f"{status.failed:,} units failed: `starmill failures {status.run.id}` shows why, "
                         f"`starmill retry {status.run.id}` sends them again")  # fmt: skip
        raise typer.Exit(FINISHED_WITH_FAILURES)


@contextmanager
def _progress() -> Iterator[Callable[[Status], None]]:
    """A live table in a terminal; a line now and then anywhere else."""
    out = messages()
    if out.is_terminal:
        with Live(console=out, transient=True, auto_refresh=False) as live:
            yield lambda status: live.update(text.progress(status), refresh=True)
        return
    last = [time.monotonic()]

    def show(status: Status) -> None:
        if time.monotonic() - last[0] > LINE_SECONDS:
            last[0] = time.monotonic()
            out.print(text.summary_line(status))

    yield show


def _how_to_resume(run: Run, here: Here) -> str:
    return f"continue with: starmill run --resume {run.id}{here}"
