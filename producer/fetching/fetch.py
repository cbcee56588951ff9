"""Brings documentations of devdocs into a folder, each whole or not at all.

FOLDER/SLUG/                  index.json, db.json, meta.json, SHA256SUMS
FOLDER/.SLUG.MTIME.part/      what has been fetched of an edition so far
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from aiohttp import ClientSession

from models.errors import DatasetError, ServiceError, UsageError
from producer.documents.attribution import read_mapping
from producer.documents.devdocs import INDEX, META, PAGES, entries
from producer.fetching.catalogue import CATALOGUE, Listed, Site, find, parse_catalogue
from producer.fetching.download import Download, open_session
from producer.fetching.sums import changed_files, write_sums

# slug, bytes of the whole, bytes that are here
Progress = Callable[[str, int, int], None]


async def fetch(slugs: Sequence[str], folder: Path, site: Site, progress: Progress) -> dict[str, bool]:
    """Slug -> whether it was fetched; what is there, unchanged and current is left alone.

    Raises UsageError for a slug that there is not and for the disk, ServiceError for the server.
    """
    with _writing(folder), _only_fetcher(folder):
        async with open_session() as session:
            catalogue = await _catalogue(session, folder, site)
            outdated = {
                listed.slug: not _is_current(folder / listed.slug, listed)
                for listed in find(catalogue, slugs)
            }
            for slug in (slug for slug, is_outdated in outdated.items() if is_outdated):
                await _fetch_one(session, catalogue[slug], folder, site, progress)
    return outdated


async def _catalogue(session: ClientSession, folder: Path, site: Site) -> dict[str, Listed]:
    part = folder / f".{CATALOGUE}.part"
    part.unlink(missing_ok=True)
    await Download(session, site.catalogue, part).run()
    content = part.read_bytes()
    part.unlink()
    return parse_catalogue(content, site.catalogue)


def _is_current(folder: Path, listed: Listed) -> bool:
    if changed_files(folder) != []:
        return False
    return bool(read_mapping(folder / META).get("mtime") == listed.mtime)


async def _fetch_one(
    session: ClientSession, listed: Listed, folder: Path, site: Site, progress: Progress
) -> None:
    staging = folder / f".{listed.slug}.{listed.mtime}.part"
    staging.mkdir(exist_ok=True)
    for name, size, heard in (
        (INDEX, None, None),
        (PAGES, listed.size, partial(progress, listed.slug, listed.size)),
    ):
        # The edition is part of the address, so that no cache answers with another one.
        url = f"{site.documents}/{listed.slug}/{name}?{listed.mtime}"
        if not (staging / name).exists():
            part = staging / f"{name}.part"
            await Download(session, url, part, size, heard).run()
            part.rename(staging / name)
        _check(staging, name, url)
    (staging / META).write_text(json.dumps(dict(listed.meta), ensure_ascii=False), encoding="utf-8")
    write_sums(staging)
    _publish(staging, folder / listed.slug)


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
    """`target` is replaced; what older editions left of downloads goes with it."""
    before = staging.with_suffix(".old")
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
        target.rename(before)
    staging.rename(target)
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from None


@contextmanager
def _only_fetcher(folder: Path) -> Iterator[None]:
    """Two that fetch the same would append to one file."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(f"{folder}: another process is fetching into it; wait for it to end") from None
        yield
