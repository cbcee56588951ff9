"""`starmill data grow`: new requests, written by the teacher as train examples show it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from models.growth.gate import DROPS
from producer.cli.common import JsonOption, console, messages, open_ledger, print_json
from producer.cli.execution import (
    GatewayOption,
    Here,
    LocalOption,
    NoFlowerOption,
    asked_for,
    conclude_failures,
    execute,
    find_or_plan,
    require_ended,
)
from producer.experiments import load_experiment
from producer.feeding.stopping import Stop
from producer.files import require_place
from producer.growing import Yield, write_grown
from producer.progress.status import Status, read_status
from storage.database import Database
from storage.logs import configure_logging
from storage.schema import FINISHED
from storage.settings import Settings, load_settings


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
