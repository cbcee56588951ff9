"""`starmill data fetch`: documentation fetched into a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from producer.cli.common import messages, progress_bar
from producer.fetching.catalogue import DEVDOCS, mirror
from producer.fetching.fetch import fetch as fetch_into
from storage.settings import load_settings


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
    """Fetch documentations; what is there and current stays, what broke off goes on."""
    target = folder or load_settings().root / source
    with progress_bar() as bar:
        rows = {slug: bar.add_task(slug, total=None) for slug in slugs}
        site = mirror(from_) if from_ else DEVDOCS
        done = asyncio.run(
            fetch_into(
                slugs,
                target,
                site,
                lambda slug, total, held: bar.update(rows[slug], total=total, completed=held),
            )
        )
    for slug, is_new in done.items():
        messages().print(f"{slug}: {'fetched' if is_new else 'is current'}")
    messages().print(f"an experiment reads them by `passages: {{source: {source}, path: {target}}}`")
