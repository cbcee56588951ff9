"""`starmill estimate`: the calls, tokens, dollars and hours of an experiment, before they are paid."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.common import ExperimentArgument, JsonOption, SetOption, print_json
from producer.experiments.load import load_experiment
from producer.look_ahead.forecast_text import estimate_document, estimate_lines
from producer.runs import estimate as estimate_rows
from producer.safe_console import console
from storage.logs import configure_logging
from storage.settings import load_settings


def estimate(
    experiment: ExperimentArgument,
    rows: Annotated[
        int | None,
        typer.Option(
            "-n", min=1, metavar="N", help="rows of each split to ask for; default: 5, up to 30 if needed"
        ),
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate calls, tokens, dollars and hours of each step from rows that are done. Where fewer are
    done, the first ones are asked for, as by `starmill preview`: they stay bought."""
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    made = estimate_rows(load_experiment(experiment, set_ or []), rows, local=settings.redis_url is None)
    if as_json:
        print_json(estimate_document(made))
        return
    out = console()
    for line in estimate_lines(made):
        out.print(line)
