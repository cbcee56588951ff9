"""`starmill failures` and `starmill retry`: the dead-letter table, and the way out of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from models.errors import UsageError
from producer.cli.common import JsonOption, RunArgument, console, messages, open_ledger, print_json
from storage.ledger import counts, planning, retrying, rows
from storage.ledger.rows import Row

ReasonOption = Annotated[str | None, typer.Option(metavar="REASON", help="only units that failed for it")]
SHOWN = 80


def failures(run: RunArgument, reason: ReasonOption = None, as_json: JsonOption = False) -> None:
    """Show the units that failed, and why."""
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        reasons = counts.failure_reasons(db, chosen.id)
        _check_reason(reason, reasons)
        found = rows.failures(db, chosen.id, reason)
        if as_json:
            listed = [{**_entry(row), "rejected": rows.rejected_texts(db, row.unit_id)} for row in found]
            print_json({"run": chosen.id, "reasons": reasons, "failures": listed})
            return
        if not reasons:
            messages().print(f"run {chosen.id} has no failed units")
            return
        table = Table("unit", "stage", "variant", "question", "reason", "detail", box=None, pad_edge=False)
        for row in found:
            detail = " ".join((row.detail or "").split())
            shown = detail if len(detail) <= SHOWN else detail[: SHOWN - 3] + "..."
            table.add_row(str(row.unit_id), row.stage, row.variant, row.question_id, row.reason, shown)
        console().print(table)
        console().print(", ".join(f"{name} {number:,}" for name, number in reasons.items()))


def retry(run: RunArgument, reason: ReasonOption = None) -> None:
    """Send failed units again, with a new budget of attempts, when the run goes on."""
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        reasons = counts.failure_reasons(db, chosen.id)
        _check_reason(reason, reasons)
        sent = retrying.retry(db, chosen, reason)
        if not sent:
            # A sample is of no use once the others were voted on.
            left = "no failed units that anything waits for" if reasons else "no failed units"
            messages().print(f"run {chosen.id} has {left}")
            return
        messages().print(f"{sent:,} units will be tried again: starmill run --resume {chosen.id}")


def _check_reason(reason: str | None, reasons: dict[str, int]) -> None:
    if reason is not None and reason not in reasons:
        raise UsageError(f"no unit failed for {reason!r}; reasons are: {', '.join(reasons) or 'none'}")


def _entry(row: Row) -> dict[str, Any]:
    return {
        "unit": row.unit_id, "stage": row.stage, "variant": row.variant, "sample": row.sample,
        "question_id": row.question_id, "reason": row.reason, "detail": row.detail,
        "attempts": row.attempts, "generation": row.generation,
    }  # fmt: skip
