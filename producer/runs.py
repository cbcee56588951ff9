"""Runs from Python: plan an experiment, preview it, run it, read its rows. The command line prints what these
return."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import planned_slots
from producer.experiments.json_values import save_rows
from producer.experiments.load import load_experiment, make_experiment
from producer.feeding.interrupts import StopSignal
from producer.feeding.run_loop import StoppedWatching, feed_or_watch
from producer.local.local_stack import local_stack
from producer.look_ahead.before_run import tell_before_run
from producer.look_ahead.forecast import Estimate, estimate_job
from producer.look_ahead.known_answers import preview_name
from producer.origin import RunSource
from producer.planning import find_or_plan, read_job, require_index
from producer.progress.live import shown_progress
from producer.progress.status import Status, read_status
from producer.run_rows import Plan, Preview, Results
from producer.safe_console import messages
from storage.broker import Queues
from storage.database import Database
from storage.ledger import batches
from storage.ledger import runs as ledger_runs
from storage.ledger.examples import examples
from storage.ledger.runs import Run
from storage.schema import FINISHED, PAUSED, PLANNED, TEST, TRAIN
from storage.settings import Settings, load_settings

Source = str | Path | Mapping[str, Any] | Experiment


# The rows that an estimate asks for; more if the standard error of tokens is larger than this share, but no
# more than a tenth of all.
ESTIMATE_ROWS, MORE_ROWS = 5, 30
LARGE_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The services that a run starts on this machine: with `local` Redis, models and workers; beside them a
    `gateway`, and Flower. `way_on` says how to go on with a run that was stopped; `on_start` is called once
    the services are there, `on_progress` about every second with the status and what prints a line."""

    local: bool = True
    gateway: bool = False
    flower: bool = False
    way_on: Callable[[Run], str] = lambda run: "the same call goes on with it"
    on_start: Callable[[Run], None] = lambda run: None
    on_progress: Callable[[Status, Callable[[str], None]], None] = lambda status, tell: None


def plan(experiment: Source) -> Plan:
    """Check the experiment and its rows, and count its units. No run is made and no model is asked."""
    job = read_job(_load(experiment))
    units: dict[str, int] = {}
    for split, slots in planned_slots(job.experiment).items():
        for slot in slots:
            units[slot.stage] = units.get(slot.stage, 0) + job.rows[split]
    with _ledger(load_settings()) as db:
        known = ledger_runs.find_run(db, job.experiment, job.dataset)
    return Plan(
        job.experiment.name,
        {split: number for split, number in job.rows.items() if number},
        {step: number for step, number in units.items() if number},
        known.id if known else None,
    )


def estimate(experiment: Source, n: int | None = None, *, local: bool = True) -> Estimate:
    """Estimate calls, tokens, dollars and hours of each step from `n` rows; without it from five, or from up
    to thirty where these differ much.

    Where fewer are done, the first ones are asked for, as in a preview: they stay bought.
    """
    loaded = _load(experiment)
    job = read_job(loaded)

    def from_rows(number: int) -> Estimate:
        with _ledger(load_settings()) as db:
            known = estimate_job(db, job, published_prices=True)
            if known.rests_on(number):
                return known
            _run_rows(loaded.model_copy(update={"name": preview_name(loaded)}), local, first=number)
            return estimate_job(db, job, published_prices=True)

    made = from_rows(n or ESTIMATE_ROWS)
    if n is None and made.relative_error > LARGE_ERROR:
        made = from_rows(min(MORE_ROWS, made.enough_rows, max(job.rows.values()) // 10))
    return made


def preview(experiment: Source, n: int = 5, *, local: bool = True) -> Preview:
    """Run the first `n` rows only, and return them with whole messages and answers, step by step.

    The answers are bought: the whole run does not pay for them again.
    """
    whole = _load(experiment)
    # The name alone differs: what is learned from all rows, such as a search, is the same.
    ended = _run_rows(whole.model_copy(update={"name": preview_name(whole)}), local, first=n)
    with _ledger(load_settings()) as db:
        chosen = ledger_runs.load_run(db, ended.run)
        ids = (example.question_id for split in (TRAIN, TEST) for example in examples(db, chosen.id, split))
        return Preview.read(db, chosen, ended.failed, ids)


def run(experiment: Source, *, local: bool = True, new: bool = False) -> Results:
    """Run the experiment until it ends, and return its rows. The same call again goes on where it was.

    `experiment` is a YAML file, the name of a preset, or the same as a mapping, whose `data` may be rows.
    With `local` Redis, models and workers are started here, and stopped at the end; without it, they run
    elsewhere (STARMILL_REDIS_URL). An interrupt (Ctrl-C) stops the run after the calls in flight. `new` makes
    a run of its own, even if there is one like it.
    """
    named = isinstance(experiment, str | Path)
    source = RunSource.of_experiment(str(experiment), local=local) if named else None
    return _run_rows(_load(experiment), local, new, source=source)


def _run_rows(
    loaded: Experiment,
    local: bool,
    new: bool = False,
    first: int | None = None,
    source: RunSource | None = None,
) -> Results:
    """Run all rows of the experiment, or the `first` ones of each split."""
    settings, options = load_settings(), RunOptions(local)
    if loaded.grow.enabled:
        raise ExperimentError(loaded.name, "grow.enabled", "is set by `starmill data grow`; leave it out")
    with StopSignal((signal.SIGINT,)) as stop, _ledger(settings) as db:
        chosen = find_or_plan(db, loaded, settings, local, messages().print, new, first, source)
        if first is None:
            tell_before_run(db, chosen, messages().print)
        status = finish(db, chosen, settings, options, stop)
        require_ended(status, options)
        if status.failed:
            messages().print(f"{status.failed:,} units failed: `starmill failures {chosen.id}` shows why")
    return Results(settings.database, chosen, status.failed)


def results(run: str) -> Results:
    """Return the rows of a run as they are now. Its name may be shortened."""
    settings = load_settings()
    with _ledger(settings) as db:
        chosen = ledger_runs.load_run(db, run)
        return Results(settings.database, chosen, read_status(db, chosen, db.clock()).failed)


def finish(db: Database, run: Run, settings: Settings, options: RunOptions, stop: StopSignal) -> Status:
    """Feed the run until it ends, unless it has ended already. Return its status."""
    if run.state == FINISHED:
        return read_status(db, run, db.clock())
    return feed(db, run, settings, options, stop)


def feed(db: Database, run: Run, settings: Settings, options: RunOptions, stop: StopSignal) -> Status:
    """Feed the run until it ends or is stopped from elsewhere, and show its progress. Return its status.

    Raise KeyboardInterrupt if it is stopped here; a line has said how to go on.
    """
    tell = messages().print
    try:
        if run.state != PLANNED:
            require_index(run.experiment, settings, tell)
        with _services(run, settings, options) as started:
            if started and started.flower:
                tell(started.flower)
            used, supervisor = (started.settings, started.supervisor) if started else (settings, None)
            Queues(used.broker).check()
            options.on_start(run)
            try:
                # The same console for both: a live table makes room for lines that go through it.
                with shown_progress(out := messages()) as show:

                    def show_both(status: Status) -> None:
                        options.on_progress(status, out.print)
                        show(status)

                    return feed_or_watch(db, run, used, supervisor, show_both, stop)
            except StoppedWatching:
                raise
            except KeyboardInterrupt:
                ledger_runs.stop_run(db, run.id, "stopped by hand")
                tell("stopping: calls in flight are finished first")
                if open_batches := len(batches.unsettled(db, run.id)):
                    tell(f"batches that go on at the provider: {open_batches}; "
                         "their answers are fetched when the run goes on")  # fmt: skip
                raise
    except StoppedWatching as stopped:
        tell(f"run {run.id} goes on, fed by {stopped.leader}; stop it with `starmill pause {run.id}`")
        raise
    except KeyboardInterrupt:
        tell(f"run {run.id} was stopped; {options.way_on(run)}")
        raise


def require_ended(status: Status, options: RunOptions) -> None:
    """Raise UsageError, which says why and how to go on, if the run is paused or was stopped elsewhere."""
    if status.state == PAUSED:
        how = f"is paused: {status.message}"
    elif status.left:
        how = f"was stopped from elsewhere: {status.message}"
    else:
        return
    raise UsageError(f"run {status.run.id} {how}; {options.way_on(status.run)}")


def _services(run: Run, settings: Settings, options: RunOptions) -> Any:
    if options.local:
        return local_stack(run.experiment, settings, options.gateway, options.flower)
    return nullcontext()


@contextmanager
def _ledger(settings: Settings) -> Iterator[Database]:
    with closing(Database(settings.database)) as db:
        db.migrate()
        yield db


def _load(experiment: Source) -> Experiment:
    if isinstance(experiment, Experiment):
        return experiment
    if not isinstance(experiment, Mapping):
        return load_experiment(str(experiment))
    config = dict(experiment)
    data = config.get("data")
    if isinstance(data, Path):
        config["data"] = str(data)
    elif data is not None and not isinstance(data, str | Mapping):
        config["data"] = str(save_rows(data, load_settings().root / "rows"))
    return make_experiment(str(config.get("name", "experiment")), config, Path.cwd())
