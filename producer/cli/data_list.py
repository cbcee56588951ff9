"""`starmill data list`: what documentation lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from producer.cli.common import JsonOption, console, print_json
from producer.documents.devdocs import attribution, documentations, entries
from producer.fetching.sums import changed_files
from storage.settings import load_settings


def list_(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="default: devdocs in STARMILL_HOME")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The documentations in a folder: version, size, whether they are whole, whose they are."""
    found: list[dict[str, Any]] = []
    for documentation in documentations(folder or load_settings().root / "devdocs"):
        changed = changed_files(documentation.folder)
        state = "unchecked" if changed is None else f"changed: {', '.join(changed)}" if changed else "whole"
        said = attribution(documentation)
        found.append({
            "documentation": said.documentation, "library": documentation.library, "version": said.version,
            "entries": sum(map(len, entries(documentation.folder).values())), "bytes": documentation.size,
            "state": state, "notice": said.notice, "url": said.url,
        })  # fmt: skip
    if as_json:
        print_json({"documentations": found})
        return
    table = Table("documentation", "version", box=None, pad_edge=False)
    table.add_column("entries", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("state")
    table.add_column("notice")
    for row in found:
        megabytes = f"{row['bytes'] / 1e6:.1f}"
        table.add_row(
            row["documentation"],
            row["version"],
            f"{row['entries']:,}",
            megabytes,
            row["state"],
            row["notice"],
        )
    console().print(table)
