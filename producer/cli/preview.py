"""`starmill preview`: the first rows of an experiment, with whole messages and real answers."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli import FINISHED_WITH_FAILURES
from producer.cli.common import ExperimentArgument, JsonOption, SetOption, open_ledger, print_json
from producer.experiments.load import load_experiment
from producer.look_ahead.forecast import estimate_job
from producer.look_ahead.forecast_text import lines_before_run
from producer.planning import read_job
from producer.runs import preview as run_first_rows
from producer.safe_console import console, messages
from storage.logs import configure_logging
from storage.settings import load_settings


def preview(
    experiment: ExperimentArgument,
    rows: Annotated[int, typer.Option("-n", min=1, metavar="N", help="rows of each split")] = 5,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whole messages and real answers of the first rows, step by step, and tell what all rows take. What
    was bought stays bought. The services are started here unless STARMILL_REDIS_URL is set; then its workers
    answer."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    loaded = load_experiment(experiment, set_ or [])
    shown = run_first_rows(loaded, rows, local=settings.redis_url is None)
    if as_json:
        print_json({"run": shown.run, "failed": shown.failed, "rows": list(shown)})
    else:
        out = console()
        for line in shown.lines(wrap=out.is_terminal):
            out.print(line)
        with open_ledger(settings) as db:
            for summary in lines_before_run(estimate_job(db, read_job(loaded))):
                messages().print(summary)
    if shown.failed:
        raise typer.Exit(FINISHED_WITH_FAILURES)
