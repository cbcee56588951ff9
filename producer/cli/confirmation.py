"""Ask before a run that costs more than a limit."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from models.core.errors import UsageError
from producer.look_ahead.before_run import estimate_run
from producer.look_ahead.forecast import Estimate
from producer.safe_console import confirm
from storage.database import Database
from storage.ledger.runs import Run
from storage.schema import FINISHED

ConfirmOption = Annotated[
    float | None,
    typer.Option(
        "--confirm-above-usd", metavar="AMOUNT", help="ask first if it may cost more, or is unknown"
    ),
]


def confirm_cost(db: Database, run: Run, limit: float | None) -> None:
    """Ask whether to go on with a run that may cost more than `limit` dollars. Raise typer.Abort if not,
    UsageError where nobody can be asked."""
    if limit is None or run.state == FINISHED:
        return
    estimate = estimate_run(db, run, published_prices=True)
    if estimate.dollars is not None and estimate.dollars <= limit:
        return
    cost = _cost(estimate)
    if not sys.stdin.isatty():
        how = f"give a higher --confirm-above-usd, or leave it out: starmill run --resume {run.id}"
        raise UsageError(f"run {run.id} {cost}, and there is no terminal to ask; {how}")
    confirm(f"run {run.id} {cost}; go on?")


def _cost(estimate: Estimate) -> str:
    if estimate.dollars is not None:
        return f"may cost about ${estimate.dollars:,.2f}"
    if estimate.is_known:
        return f"has an unknown cost: set the price of {' and '.join(estimate.unpriced)}"
    return "has an unknown cost; `starmill estimate EXPERIMENT` asks 5 rows or more and says it"
