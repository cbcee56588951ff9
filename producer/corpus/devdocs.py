"""Passages from documentation as devdocs.io publishes it.

SLUG/index.json    {"entries": [{"name", "path", "type"}], ...}; path is PAGE or PAGE#FRAGMENT
SLUG/db.json       {PAGE: HTML}; without it, SLUG/PAGE.html
SLUG/meta.json     optional: {"slug", "version", "release", "links", "attribution", ...}
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from models.core.errors import DatasetError
from models.core.types import Passage
from producer.corpus.attribution import Attribution, read_mapping
from producer.corpus.html import IMPORT_NAMES, Page, folders_with, node_text, read_page, subfolders

log = logging.getLogger(__name__)
INDEX, PAGES, META = "index.json", "db.json", "meta.json"
Entry = tuple[str, str]  # name, fragment


@dataclass(frozen=True, slots=True)
class Documentation:
    """A folder with an index; `meta` is empty if devdocs' own description is missing."""

    folder: Path
    meta: dict[str, Any]

    @property
    def slug(self) -> str:
        """The name on devdocs, such as `python~3.9`."""
        return str(self.meta.get("slug") or self.folder.resolve().name)

    @property
    def library(self) -> str:
        """The prefix of ids: the slug without its version, or the name that is imported."""
        name = self.slug.partition("~")[0].lower()
        return IMPORT_NAMES.get(name, name)

    @property
    def version(self) -> str:
        return str(self.meta.get("release") or self.meta.get("version") or self.slug.partition("~")[2])

    @property
    def size(self) -> int:
        """The bytes of the file with all pages; 0 if every page is a file."""
        pages = self.folder / PAGES
        return pages.stat().st_size if pages.is_file() else 0


def find_documentations(path: Path) -> list[Documentation]:
    """Return the documentation in `path` itself, or those in its subfolders. Raises DatasetError."""
    folders = folders_with(path, INDEX)
    # A documentation without its index would be skipped silently.
    for folder in [] if (path / INDEX).is_file() else [path, *subfolders(path)]:
        if (folder / PAGES).is_file() and not (folder / INDEX).is_file():
            raise DatasetError(folder / INDEX, None, f"no such file beside {PAGES}; fetch both again")
    if not (folders[0] / INDEX).is_file():
        problem = f"neither it nor a folder in it holds {INDEX}; `starmill data fetch devdocs` gets some"
        raise DatasetError(path, None, problem)
    metas = [folder / META for folder in folders]
    return [Documentation(meta.parent, dict(read_mapping(meta)) if meta.is_file() else {}) for meta in metas]


def read_devdocs(path: Path) -> Iterator[Passage]:
    """Yield a passage per entry of each index, once per id; a page is parsed once.

    An id is `LIBRARY.PAGE#FRAGMENT`, with dots for the page's slashes: `python.library.functions#range`.
    Entries without their page or fragment are skipped and counted in a warning. Raises DatasetError for a
    malformed folder, and if every entry of a documentation is missing.
    """
    for documentation in find_documentations(path):
        yield from _passages(documentation)


def _passages(documentation: Documentation) -> Iterator[Passage]:
    by_page = entries(documentation.folder)
    total = sum(map(len, by_page.values()))
    html_of, library = _pages(documentation.folder), documentation.library
    missing = 0
    seen: set[str] = set()
    for path, wanted in by_page.items():
        html = html_of(path)
        if html is None:
            missing += len(wanted)
            continue
        page = Page(html)
        for name, fragment in wanted:
            passage = _passage(library, page, path, name, fragment)
            if passage is None:
                missing += 1
            elif passage.id not in seen:
                seen.add(passage.id)
                yield passage
    if missing == total:
        problem = f"none of its {total:,} entries has a page here; fetch the documentation again"
        raise DatasetError(documentation.folder / INDEX, None, problem)
    if missing:
        log.warning(
            "%s: %d of %d entries have no page or fragment: skipped", documentation.slug, missing, total
        )


def _passage(library: str, page: Page, path: str, name: str, fragment: str) -> Passage | None:
    identifier = f"{library}.{path.lower().replace('/', '.')}"
    if not fragment:
        opening = page.opening({name.removesuffix("()"), path.rpartition("/")[2]})
        return Passage(identifier, name, *opening, library)
    definition = page.definition(fragment) or page.definition(unquote(fragment))
    return definition and Passage(f"{identifier}#{fragment}", name, *definition, library)


def entries(folder: Path) -> dict[str, list[Entry]]:
    """Return page -> its entries, in the order of the index. Raises DatasetError."""
    path = folder / INDEX
    listed = read_mapping(path).get("entries")
    if not isinstance(listed, list) or not listed:
        raise DatasetError(path, None, "lists no entries; it is no index of devdocs")
    by_page: dict[str, list[Entry]] = {}
    for number, entry in enumerate(listed, start=1):
        if not isinstance(entry, dict):
            raise DatasetError(path, None, f"entry {number} must be an object, found {type(entry).__name__}")
        for key in ("name", "path"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise DatasetError(path, None, f"entry {number} has no {key}")
        page, _, fragment = entry["path"].partition("#")
        by_page.setdefault(page, []).append((entry["name"], fragment))
    return by_page


def _pages(folder: Path) -> Callable[[str], str | bytes | None]:
    """Return a function from a page's path to its HTML, or None."""
    if not (folder / PAGES).is_file():
        return lambda path: read_page(folder, path if path.endswith(".html") else f"{path}.html")
    pages = read_mapping(folder / PAGES)

    def page(path: str) -> str | None:
        html = pages.get(path)
        if html is not None and not isinstance(html, str):
            raise DatasetError(folder / PAGES, None, f"{path} needs a string, found {type(html).__name__}")
        return html

    return page


def attribution(documentation: Documentation) -> Attribution:
    """Return the notice in devdocs' description, or in the first page that has one."""
    notice, url = _described(documentation.meta)
    if not notice:
        notice, address = _from_pages(documentation.folder)
        url = url or address
    return Attribution(documentation.slug, documentation.version, notice, url)


def _described(meta: dict[str, Any]) -> tuple[str, str]:
    links = meta.get("links")
    home = links.get("home") if isinstance(links, dict) else None
    return Page(str(meta.get("attribution") or "")).words(), str(home or "")


def _from_pages(folder: Path) -> tuple[str, str]:
    html_of = _pages(folder)
    for path in entries(folder):
        html = html_of(path)
        page = Page(html or "")
        for note in page.all("._attribution"):
            url = " ".join(node_text(link) for link in page.all("._attribution-link"))
            return node_text(note).removesuffix(url).strip(), url
    return "", ""


SUMS_FILE = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write SHA-256 sums of all files in `folder` itself, in the format of `sha256sum --check`."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != SUMS_FILE)
    lines = [f"{_sum(folder / name)}  {name}\n" for name in names]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def changed_files(folder: Path) -> list[str] | None:
    """Return the names of files that have changed or are missing; None without SHA-256 sums."""
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    pairs = [line.partition("  ") for line in lines if line.strip()]
    return [name for digest, _, name in pairs if _sum(folder / name) != digest]


def _sum(path: Path) -> str:
    """Return the hexadecimal sum, empty if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
