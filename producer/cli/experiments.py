"""`starmill experiments`: the presets."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from producer.cli.common import JsonOption, console, print_json
from producer.experiments import load_experiment, presets


def experiments(
    name: Annotated[
        str | None, typer.Argument(help="show this preset or file, all defaults filled in")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the shipped experiments, or show one as it would run."""
    if name:
        experiment = load_experiment(name)
        print_json(experiment.model_dump(mode="json"))
        return
    found = presets()
    if as_json:
        print_json({"experiments": found})
        return
    table = Table("preset", "what it is", box=None, pad_edge=False)
    for preset, description in found.items():
        table.add_row(preset, description)
    console().print(table)
