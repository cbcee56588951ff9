"""Fetch documentation from devdocs into a folder that `source: devdocs` reads, each whole or not at all.

FOLDER/SLUG/                  index.json, db.json, meta.json, SHA256SUMS
FOLDER/.SLUG.MTIME.part/      an unfinished download of an edition
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession

from models.core.errors import DatasetError, ServiceError, UsageError
from producer.corpus.attribution import read_mapping
from producer.corpus.devdocs import INDEX, META, PAGES, changed_files, entries, write_checksums
from producer.corpus.download import Download, open_session
from producer.files import exclusive

CATALOGUE = "docs.json"
# A slug becomes the name of a folder.
SLUG = re.compile(r"[a-z0-9_][a-z0-9_.~-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DevdocsSite:
    """`catalogue` is a URL; `/SLUG/FILE` is added to `documents`."""

    catalogue: str
    documents: str


DEVDOCS = DevdocsSite("https://devdocs.io/docs.json", "https://documents.devdocs.io")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A line of the catalogue. `mtime` (seconds since 1970) names the edition, `size` is that of db.json."""

    slug: str
    mtime: int
    size: int
    meta: Mapping[str, Any]


def mirror(url: str) -> DevdocsSite:
    """Return the site of a server with devdocs' files below one URL. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--from needs a URL such as https://mirror.example/docs")
    if "@" in parts.netloc:
        raise UsageError("--from holds a user or a password; give a URL without")
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return DevdocsSite(f"{base}/{CATALOGUE}", base)


def parse_catalogue(content: bytes, url: str) -> dict[str, CatalogueEntry]:
    """Return slug -> entry. Raises ServiceError."""
    try:
        rows = json.loads(content)
        catalogue = [CatalogueEntry(row["slug"], int(row["mtime"]), int(row["db_size"]), row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ServiceError(f"{url} is no list of documentations; check --from") from None
    if bad := [entry.slug for entry in catalogue if not SLUG.fullmatch(str(entry.slug))]:
        raise ServiceError(f"{url} lists {bad[0]!r}, which is no name of a folder; check --from")
    return {entry.slug: entry for entry in catalogue}


def find_entries(catalogue: Mapping[str, CatalogueEntry], slugs: Sequence[str]) -> list[CatalogueEntry]:
    """Return the entries of `slugs`, each once. Raises UsageError with similar names."""
    for slug in slugs:
        if slug not in catalogue:
            versions = [known for known in catalogue if known.partition("~")[0] == slug.partition("~")[0]]
            near = difflib.get_close_matches(slug, versions or list(catalogue), n=3, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(near or versions[:3])}?" if near or versions else "see devdocs.io"
            )
            raise UsageError(f"devdocs has no documentation {slug}; {hint}")
    return [catalogue[slug] for slug in dict.fromkeys(slugs)]


# slug, total bytes, bytes received
Progress = Callable[[str, int, int], None]


async def fetch(slugs: Sequence[str], folder: Path, site: DevdocsSite, progress: Progress) -> dict[str, bool]:
    """Return slug -> whether it was fetched; current and unchanged documentation is left alone.

    Raises UsageError for an unknown slug and for the disk, ServiceError for the server.
    """
    # Two processes would append to the same files.
    busy = f"{folder}: another process is fetching into it; wait for it to end"
    with _writable(folder), exclusive(folder / ".lock", busy):
        async with open_session() as session:
            catalogue = await _catalogue(session, folder, site)
            wanted = find_entries(catalogue, slugs)
            outdated = {entry.slug: not _is_current(folder / entry.slug, entry) for entry in wanted}
            for slug in (slug for slug, is_outdated in outdated.items() if is_outdated):
                await _fetch_one(session, catalogue[slug], folder, site, progress)
    return outdated


async def _catalogue(session: ClientSession, folder: Path, site: DevdocsSite) -> dict[str, CatalogueEntry]:
    part = folder / f".{CATALOGUE}.part"
    part.unlink(missing_ok=True)
    await Download(session, site.catalogue, part).run()
    content = part.read_bytes()
    part.unlink()
    return parse_catalogue(content, site.catalogue)


def _is_current(folder: Path, entry: CatalogueEntry) -> bool:
    return changed_files(folder) == [] and bool(read_mapping(folder / META).get("mtime") == entry.mtime)


async def _fetch_one(
    session: ClientSession, entry: CatalogueEntry, folder: Path, site: DevdocsSite, progress: Progress
) -> None:
    staging = folder / f".{entry.slug}.{entry.mtime}.part"
    staging.mkdir(exist_ok=True)
    for name, size, received in (
        (INDEX, None, None),
        (PAGES, entry.size, partial(progress, entry.slug, entry.size)),
    ):
        # The edition is part of the URL, so that no cache answers with another one.
        url = f"{site.documents}/{entry.slug}/{name}?{entry.mtime}"
        if not (staging / name).exists():
            part = staging / f"{name}.part"
            await Download(session, url, part, size, received).run()
            part.rename(staging / name)
        _check(staging, name, url)
    (staging / META).write_text(json.dumps(dict(entry.meta), ensure_ascii=False), encoding="utf-8")
    write_checksums(staging)
    _publish(staging, folder / entry.slug)


def _check(staging: Path, name: str, url: str) -> None:
    try:
        if name == INDEX:
            entries(staging)
        else:
            read_mapping(staging / name)
    except DatasetError as error:
        (staging / name).unlink()
        problem = str(error).removeprefix(str(staging / name))
        raise ServiceError(f"{url}{problem}; try again later, or check --from") from None


def _publish(staging: Path, target: Path) -> None:
    """Replace `target`, and remove unfinished downloads of older editions."""
    before = staging.with_suffix(".old")
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
        target.rename(before)
    staging.rename(target)
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from None
