"""`starmill data fetch`, `list` and `apply-delta`: documentation, and models made of a difference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from producer import weights
from producer.cli.common import JsonOption, print_json
from producer.corpus.devdocs import attribution, changed_files, entries, find_documentations
from producer.safe_console import console, messages, progress_bar
from storage.settings import load_settings


def apply_delta(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="folder of the model it is a difference to")],
    delta: Annotated[Path, typer.Argument(metavar="DELTA", help="folder of the difference")],
    output: Annotated[Path, typer.Option("-o", metavar="FOLDER", help="a new folder for the model")],
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"], typer.Option(help="how the sums are saved")
    ] = "float32",
    checksum: Annotated[
        float | None, typer.Option(metavar="SUM", help="what all numbers of the model must add up to")
    ] = None,
) -> None:
    """Add a published difference of weights, such as Alpaca-7B's, to its base, such as LLaMA-7B."""
    with progress_bar() as bar:
        task = bar.add_task("tensors", total=None)
        count = weights.apply_delta(
            base, delta, output, dtype, checksum,
            lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    messages().print(f"{count} tensors in {output}; a student uses it by `model: {output}`")


def fetch(
    source: Annotated[Literal["devdocs"], typer.Argument(metavar="devdocs", help="where from")],
    slugs: Annotated[list[str], typer.Argument(metavar="SLUG...", help="such as python~3.14 or pandas~2")],
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="a mirror that holds docs.json and SLUG/db.json"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("-o", metavar="FOLDER", help="default: devdocs in STARMILL_HOME")
    ] = None,
) -> None:
    """Fetch documentation. What is current stays; an interrupted download continues."""
    from producer.corpus import devdocs_fetch

    target = folder or load_settings().root / source
    with progress_bar() as bar:
        tasks = {slug: bar.add_task(slug, total=None) for slug in slugs}
        site = devdocs_fetch.mirror(from_) if from_ else devdocs_fetch.DEVDOCS
        done = asyncio.run(devdocs_fetch.fetch(
            slugs, target, site,
            lambda slug, total, held: bar.update(tasks[slug], total=total, completed=held),
        ))  # fmt: skip
    for slug, is_new in done.items():
        messages().print(f"{slug}: {'fetched' if is_new else 'is current'}")
    messages().print(f"an experiment reads them by `passages: {{source: {source}, path: {target}}}`")


def list_(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="default: devdocs in STARMILL_HOME")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the documentation in a folder: version, size, state, notice."""
    rows: list[dict[str, Any]] = []
    for documentation in find_documentations(folder or load_settings().root / "devdocs"):
        changed = changed_files(documentation.folder)
        state = "unchecked" if changed is None else f"changed: {', '.join(changed)}" if changed else "whole"
        notice = attribution(documentation)
        rows.append({
            "documentation": notice.documentation, "library": documentation.library,
            "version": notice.version,
            "entries": sum(map(len, entries(documentation.folder).values())), "bytes": documentation.size,
            "state": state, "notice": notice.notice, "url": notice.url,
        })  # fmt: skip
    if as_json:
        print_json({"documentations": rows})
        return
    table = Table("documentation", "version", box=None, pad_edge=False)
    table.add_column("entries", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("state")
    table.add_column("notice")
    for row in rows:
        counts = (f"{row['entries']:,}", f"{row['bytes'] / 1e6:.1f}")
        table.add_row(row["documentation"], row["version"], *counts, row["state"], row["notice"])
    console().print(table)
