"""`starmill runs`, `status`, `failures`, `retry` and `pause`: the state of runs."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from models.core.errors import UsageError
from models.core.near_names import nearest
from models.core.pipeline.plan import stage_names
from producer.cli.common import (
    DETAIL_WIDTH,
    JsonOption,
    OptionalRun,
    RunArgument,
    find_run,
    open_ledger,
    print_json,
)
from producer.progress import text
from producer.progress.status import LimitWatch, read_status
from producer.safe_console import console, messages
from storage.database import Database
from storage.ledger import counts, queries, retries
from storage.ledger import runs as ledger_runs
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run
from storage.ledger.stand_ins import stand_in_reasons
from storage.schema import DONE, FINISHED, PLANNED, RUNNING
from storage.settings import load_settings


def runs(as_json: JsonOption = False) -> None:
    """List all runs, newest first, also those of another version that this one cannot read."""
    with open_ledger() as db:
        listed, unreadable = counts.run_summaries(db), ledger_runs.unreadable_runs(db)
        if as_json:
            print_json({"runs": [
                {"run": run.id, "experiment": run.name, "state": run.state, "message": run.message,
                 "unreadable": unreadable.get(run.id), "planned": run.planned, "created_at": run.created_at,
                 "started_at": run.started_at, "finished_at": run.finished_at}
                for run in listed
            ]})  # fmt: skip
            return
        if not listed:
            messages().print(f"no runs yet in {db}; `starmill run demo --local` makes one")
            return
        table = Table("run", "state", "created", box=None, pad_edge=False)
        table.add_column("units", justify="right")
        table.add_column("message")
        for run in listed:
            created = datetime.fromtimestamp(run.created_at).astimezone().isoformat(" ", "minutes")
            message = unreadable.get(run.id, run.message)
            table.add_row(run.id, run.state, created, f"{run.planned:,}", message)
        console(DETAIL_WIDTH).print(table)


WATCH_SECONDS = 2.0


def status(
    run: OptionalRun = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on showing it until the run ends")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show finished rows, ETA, units by stage and state, tokens, dollars and budget, the use of limits, why a
    run stands still, and failures by reason."""
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    settings = load_settings()
    limits = LimitWatch(settings)
    with open_ledger(settings) as db:
        chosen = find_run(db, run)
        current = read_status(db, chosen, db.clock(), limits)
        if as_json:
            print_json(current.document())
            return
        if not watch:
            console().print(text.progress(current))
            return
        with Live(text.progress(current), console=console(), auto_refresh=False) as live:
            while current.state == RUNNING:
                time.sleep(WATCH_SECONDS)
                current = read_status(db, chosen, db.clock(), limits)
                live.update(text.progress(current), refresh=True)


ReasonOption = Annotated[str | None, typer.Option(metavar="REASON", help="only units that failed for it")]
StageOption = Annotated[str | None, typer.Option(metavar="NAME", help="only units of this stage or step")]
SHOWN = 80


def failures(
    run: RunArgument, reason: ReasonOption = None, stage: StageOption = None, as_json: JsonOption = False
) -> None:
    """Show the units that failed, and why: in a terminal the beginning of it, in a pipe or file all."""
    with open_ledger() as db:
        chosen = ledger_runs.load_run(db, run)
        reasons = _reasons(db, chosen)
        _check_reason(reason, reasons)
        _check_stage(stage, chosen)
        rows = queries.failures(db, chosen.id, reason, stage)
        if as_json:
            listed = [{**_entry(row), "rejected": queries.rejected_texts(db, row.unit_id)} for row in rows]
            print_json({"run": chosen.id, "reasons": reasons, "failures": listed})
            return
        if not reasons:
            messages().print(f"run {chosen.id} has no failed units")
            return
        table = Table("unit", "stage", "variant", "question", "reason", "detail", box=None, pad_edge=False)
        out = console(DETAIL_WIDTH)
        for row in rows:
            detail = " ".join((row.detail or "").split())
            if out.is_terminal and len(detail) > SHOWN:
                detail = detail[: SHOWN - 3] + "..."
            variant = row.variant or (f"sample {row.sample}" if row.sample else "")
            reason_text = f"{row.reason}, its row goes on" if row.state == DONE else row.reason
            table.add_row(str(row.unit_id), row.stage, variant, row.question_id, reason_text, detail)
        out.print(table)
        out.print(", ".join(f"{name} {number:,}" for name, number in reasons.items()))


def retry(run: RunArgument, reason: ReasonOption = None, stage: StageOption = None) -> None:
    """Send failed units again, with a new budget of attempts, when the run goes on. Rows that went on without
    a result get it, too, and what rests on it is made anew."""
    with open_ledger() as db:
        chosen = ledger_runs.load_run(db, run)
        reasons = _reasons(db, chosen)
        _check_reason(reason, reasons)
        _check_stage(stage, chosen)
        sent = retries.retry(db, chosen, reason, stage)
        if not sent:
            # A sample is not asked again after the vote on the others.
            left = "no failed units that anything waits for" if reasons else "no failed units"
            messages().print(f"run {chosen.id} has {left}")
            return
        messages().print(f"{sent:,} units will be tried again: starmill run --resume {chosen.id}")


def _reasons(db: Database, run: Run) -> dict[str, int]:
    """Count the failed units by reason, with those whose rows went on."""
    reasons = Counter(counts.failure_reasons(db, run.id))
    for of_stage in stand_in_reasons(db, run.id).values():
        reasons.update(of_stage)
    return dict(reasons.most_common())


def _check_reason(reason: str | None, reasons: dict[str, int]) -> None:
    if reason is not None and reason not in reasons:
        raise UsageError(f"no unit failed for {reason!r}; reasons are: {', '.join(reasons) or 'none'}")


def _check_stage(stage: str | None, run: Run) -> None:
    names = stage_names(run.experiment)
    if stage is not None and stage not in names:
        raise UsageError(f"run {run.id} has no step {stage!r}; {nearest(stage, names)}")


def _entry(row: ResultRow) -> dict[str, Any]:
    return {
        "unit": row.unit_id, "stage": row.stage, "variant": row.variant, "sample": row.sample,
        "state": row.state,
        "question_id": row.question_id, "reason": row.reason, "detail": row.detail,
        "attempts": row.attempts, "generation": row.generation,
    }  # fmt: skip


def pause(run: RunArgument) -> None:
    """Pause a running run: calls in flight are finished, no more are made, and `starmill run` ends
    with exit code 2. `starmill resume` goes on."""
    with open_ledger() as db:
        chosen = ledger_runs.load_run(db, run)
        if not ledger_runs.stop_run(db, chosen.id, "paused by hand", paused=True):
            raise UsageError(_no_pause_because(ledger_runs.load_run(db, chosen.id)))
    messages().print(f"run {chosen.id} is paused; continue with: starmill resume {chosen.id}")


def _no_pause_because(run: Run) -> str:
    if run.state == FINISHED:
        return f"run {run.id} is finished: there is nothing to pause"
    if run.state == PLANNED:
        return f"run {run.id} has not started: start it with `starmill resume {run.id}`"
    why = f" ({run.message})" if run.message else ""
    return f"run {run.id} is {run.state} already{why}: continue it with `starmill resume {run.id}`"
