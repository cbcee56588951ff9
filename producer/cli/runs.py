"""`starmill runs`, `status`, `failures`, `retry` and `pause`: the state of runs."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from models.core.errors import UsageError
from producer.cli.common import (
    DETAIL_WIDTH,
    JsonOption,
    OptionalRun,
    RunArgument,
    console,
    find_run,
    messages,
    open_ledger,
    print_json,
)
from producer.progress import text
from producer.progress.status import LimitWatch, read_status
from storage.ledger import counts, queries, retries
from storage.ledger import runs as ledger_runs
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run
from storage.schema import FINISHED, PLANNED, RUNNING
from storage.settings import load_settings


def runs(as_json: JsonOption = False) -> None:
    """List all runs, newest first."""
    with open_ledger() as db:
        listed = ledger_runs.list_runs(db)
        if as_json:
            print_json({"runs": [
                {"run": run.id, "experiment": run.name, "state": run.state, "message": run.message,
                 "planned": run.planned, "created_at": run.created_at,
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
            table.add_row(run.id, run.state, created, f"{run.planned:,}", run.message)
        console(DETAIL_WIDTH).print(table)


WATCH_SECONDS = 2.0


def status(
    run: OptionalRun = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on showing it until the run ends")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show units per stage and state, speed, ETA, tokens, dollars, failures by reason."""
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    settings = load_settings()
    limits = LimitWatch(settings)
    with open_ledger(settings) as db:
        chosen = find_run(db, run)
        current = read_status(db, chosen, time.time(), limits)
        if as_json:
            print_json(current.document())
            return
        if not watch:
            console().print(text.progress(current))
            return
        with Live(text.progress(current), console=console(), auto_refresh=False) as live:
            while current.state == RUNNING:
                time.sleep(WATCH_SECONDS)
                current = read_status(db, chosen, time.time(), limits)
                live.update(text.progress(current), refresh=True)


ReasonOption = Annotated[str | None, typer.Option(metavar="REASON", help="only units that failed for it")]
SHOWN = 80


def failures(run: RunArgument, reason: ReasonOption = None, as_json: JsonOption = False) -> None:
    """Show the units that failed, and why: in a terminal the beginning of it, in a pipe or file all."""
    with open_ledger() as db:
        chosen = ledger_runs.load_run(db, run)
        reasons = counts.failure_reasons(db, chosen.id)
        _check_reason(reason, reasons)
        rows = queries.failures(db, chosen.id, reason)
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
            table.add_row(str(row.unit_id), row.stage, row.variant, row.question_id, row.reason, detail)
        out.print(table)
        out.print(", ".join(f"{name} {number:,}" for name, number in reasons.items()))


def retry(run: RunArgument, reason: ReasonOption = None) -> None:
    """Send failed units again, with a new budget of attempts, when the run goes on."""
    with open_ledger() as db:
        chosen = ledger_runs.load_run(db, run)
        reasons = counts.failure_reasons(db, chosen.id)
        _check_reason(reason, reasons)
        sent = retries.retry(db, chosen, reason)
        if not sent:
            # A sample is not asked again after the vote on the others.
            left = "no failed units that anything waits for" if reasons else "no failed units"
            messages().print(f"run {chosen.id} has {left}")
            return
        messages().print(f"{sent:,} units will be tried again: starmill run --resume {chosen.id}")


def _check_reason(reason: str | None, reasons: dict[str, int]) -> None:
    if reason is not None and reason not in reasons:
        raise UsageError(f"no unit failed for {reason!r}; reasons are: {', '.join(reasons) or 'none'}")


def _entry(row: ResultRow) -> dict[str, Any]:
    return {
        "unit": row.unit_id, "stage": row.stage, "variant": row.variant, "sample": row.sample,
        "question_id": row.question_id, "reason": row.reason, "detail": row.detail,
        "attempts": row.attempts, "generation": row.generation,
    }  # fmt: skip


def pause(run: RunArgument) -> None:
    """Pause a running run: calls in flight are finished, no more are made, and `starmill run` ends."""
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
