"""`starmill experiments`: the presets.

`starmill task`: make a task folder, and put one to the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from models.core.errors import UsageError
from models.core.experiment.endpoints import NAME
from producer.cli.common import JsonOption, console, messages, print_json
from producer.experiments import load_experiment, presets
from producer.experiments.task_check import check_task
from producer.experiments.task_folders import SCAFFOLD, find_task


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


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the folder to make; it must not exist")],
) -> None:
    """Make a task folder: data, prompt templates, an experiment and a test, all of which work."""
    folder = Path(name)
    if not NAME.fullmatch(folder.name):
        raise UsageError(f"{name}: a task is named by up to 64 letters, digits, '.', '_' and '-'")
    if folder.exists():
        raise UsageError(f"{name}: is there already; take another name, or remove it")
    if not folder.parent.is_dir():
        raise UsageError(f"{name}: there is no folder {folder.parent}; make it first")
    folder.mkdir()
    for path in sorted(SCAFFOLD.iterdir()):
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("name: NAME", f"name: {folder.name}")
            (folder / path.name).write_text(text, encoding="utf-8")
    messages().print(f"{name}: made; next: starmill task check {name}")


def check(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="a task folder, or a shipped one by name")],
    as_json: JsonOption = False,
) -> None:
    """Check a task folder: templates with its first row, seeds, references, passages. Asks no model."""
    found = check_task(find_task(folder, Path.cwd()))
    if as_json:
        print_json({
            "task": found.name, "train": found.train, "test": found.test, "passages": found.passages,
            "seeds": found.seeds, "first_prompt": found.first_prompt,
        })  # fmt: skip
        return
    out = console()
    out.print(
        f"{found.name}: {found.train:,} train and {found.test:,} test rows, {found.passages:,} passages, "
        f"{found.seeds:,} seeds. Of the first row the teacher is asked:"
    )
    out.print(found.first_prompt)
