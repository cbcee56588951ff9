"""`starmill status`: where a run stands."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live

from models.errors import UsageError
from producer.cli.common import JsonOption, OptionalRun, console, find_run, open_ledger, print_json
from producer.progress import view
from producer.progress.limits import LimitWatch
from producer.progress.status import read_status
from storage.schema import RUNNING
from storage.settings import load_settings

WATCH_SECONDS = 2.0


def status(
    run: OptionalRun = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on showing it until the run ends")] = False,
    as_json: JsonOption = False,
) -> None:
    """Units per stage and state, speed, ETA, tokens, dollars, failures by reason."""
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    settings = load_settings()
    limits = LimitWatch(settings)
    with open_ledger(settings) as db:
        chosen = find_run(db, run)
        found = read_status(db, chosen, time.time(), limits)
        if as_json:
            print_json(found.document())
            return
        if not watch:
            console().print(view.progress(found))
            return
        with Live(view.progress(found), console=console(), auto_refresh=False) as live:
            while found.state == RUNNING:
                time.sleep(WATCH_SECONDS)
                found = read_status(db, chosen, time.time(), limits)
                live.update(view.progress(found), refresh=True)
