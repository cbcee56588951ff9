"""`starmill runs`: what was run."""

from __future__ import annotations

from datetime import datetime

from rich.table import Table

from producer.cli.common import JsonOption, console, messages, open_ledger, print_json
from storage.ledger import planning


def runs(as_json: JsonOption = False) -> None:
    """List all runs, newest first."""
    with open_ledger() as db:
        found = planning.list_runs(db)
        if as_json:
            print_json({"runs": [
                {"run": run.id, "experiment": run.name, "state": run.state, "message": run.message,
                 "planned": run.planned, "created_at": run.created_at,
                 "started_at": run.started_at, "finished_at": run.finished_at}
                for run in found
            ]})  # fmt: skip
            return
        if not found:
            messages().print(f"no runs yet in {db}; `starmill run demo --local` makes one")
            return
        table = Table("run", "state", "created", box=None, pad_edge=False)
        table.add_column("units", justify="right")
        table.add_column("message")
        for run in found:
            created = datetime.fromtimestamp(run.created_at).astimezone().isoformat(" ", "minutes")
            table.add_row(run.id, run.state, created, f"{run.planned:,}", run.message)
        console().print(table)
