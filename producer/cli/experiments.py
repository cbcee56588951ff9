"""`starmill experiments`: the presets. `starmill task`: make and check task folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from models.core.errors import UsageError
from models.core.experiment.endpoints import NAME
from producer.cli.common import JsonOption, print_json
from producer.experiments.load import load_experiment, presets
from producer.experiments.task_check import check_task
from producer.experiments.task_folders import SCAFFOLD, find_task
from producer.safe_console import console, messages


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
    shipped = presets()
    if as_json:
        print_json({"experiments": shipped})
        return
    table = Table("preset", "what it is", box=None, pad_edge=False)
    for preset, description in shipped.items():
        table.add_row(preset, description)
    console().print(table)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the folder to make; it must not exist")],
) -> None:
    """Make a task folder with data, prompt templates, an experiment and a test. All of them work."""
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
    summary = check_task(find_task(folder, Path.cwd()))
    if as_json:
        print_json({
            "task": summary.name, "train": summary.train, "test": summary.test, "passages": summary.passages,
            "seeds": summary.seeds, "first_prompt": summary.first_prompt,
        })  # fmt: skip
        return
    out = console()
    out.print(
        f"{summary.name}: {summary.train:,} train and {summary.test:,} test rows, "
        f"{summary.passages:,} passages, {summary.seeds:,} seeds. Of the first row the teacher is asked:"
    )
    out.print(summary.first_prompt)
