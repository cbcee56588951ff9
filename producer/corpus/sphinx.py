"""Passages from a folder of HTML that Sphinx built."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from models.core.errors import DatasetError
from models.core.types import Passage
from producer.corpus.attribution import Attribution
from producer.corpus.html import IMPORT_NAMES, Page, folders_with, node_text, read_page

log = logging.getLogger(__name__)
INVENTORY = "objects.inv"
HEADER = re.compile(rb"# Sphinx inventory version 2\n# Project: (.*)\n# Version: (.*)\n#[^\n]*zlib[^\n]*\n")
# name domain:role priority location title; a name may contain blanks.
LINE = re.compile(r"(.+?) (\w+):(\S+) -?\d+ (\S+) .*")
CALLED = {"classmethod", "function", "method", "staticmethod"}
# Pages that are built from others, or are no documentation.
NO_PAGES = re.compile(r"_(modules|sources|static)/|(genindex(-.*)?|search|(py-)?modindex)\.html$")


class Entry(NamedTuple):
    name: str
    page: str
    fragment: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """`objects.inv`: the definitions of a documentation and their pages."""

    project: str
    version: str
    entries: list[Entry]

    @property
    def library(self) -> str:
        name = re.sub(r"\W+", "_", self.project.lower()).strip("_")
        return IMPORT_NAMES.get(name, name)


def read_sphinx(path: Path) -> Iterator[Passage]:
    """Yield a passage per definition, in the order of the pages; a page is parsed once.

    `path` is a folder of HTML, or holds several. Names come from the inventory; without one, from the marks
    in the pages. Ids are those of devdocs: `LIBRARY.PAGE#FRAGMENT`. Definitions that their page lacks are
    skipped and counted in a warning. Raises DatasetError.
    """
    for folder in folders_with(path, INVENTORY):
        yield from _from_inventory(folder) if (folder / INVENTORY).is_file() else _from_pages(folder)


def _from_inventory(folder: Path) -> Iterator[Passage]:
    inventory = read_inventory(folder / INVENTORY)
    by_page: dict[str, dict[str, str]] = {}
    for entry in inventory.entries:
        by_page.setdefault(entry.page, {}).setdefault(entry.fragment, entry.name)
    total = sum(map(len, by_page.values()))
    count = 0
    for path, names in sorted(by_page.items()):
        html = read_page(folder, path)
        page = None if html is None else Page(html)
        for fragment, name in names.items():
            if page is not None and (definition := page.definition(fragment)):
                count += 1
                identifier = f"{inventory.library}.{_dotted(path)}#{fragment}"
                yield Passage(identifier, name, *definition, inventory.library)
    if not count:
        problem = f"none of its {total:,} definitions is in the pages beside it; give a folder of HTML"
        raise DatasetError(folder / INVENTORY, None, problem)
    if count < total:
        log.warning("%s: %d of %d definitions are in no page: skipped", folder, total - count, total)


def _from_pages(folder: Path) -> Iterator[Passage]:
    """Yield the definitions that pages mark. The library is the part of an id before its first dot."""
    is_empty = True
    for path in _paths(folder):
        page = Page(read_page(folder, path) or b"")
        for fragment, role in page.definitions():
            if definition := page.definition(fragment):
                is_empty = False
                library = fragment.partition(".")[0]
                name = f"{fragment}()" if role in CALLED else fragment
                yield Passage(f"{library}.{_dotted(path)}#{fragment}", name, *definition, library)
    if is_empty:
        problem = f"holds neither {INVENTORY} nor a page with definitions; give the HTML that Sphinx built"
        raise DatasetError(folder, None, problem)


def _paths(folder: Path) -> list[str]:
    paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
    return [path for path in paths if not NO_PAGES.search(path)]


def _dotted(path: str) -> str:
    return path.removesuffix(".html").lower().replace("/", ".")


def read_inventory(path: Path) -> Inventory:
    """Read an inventory's definitions: no labels, pages, terms or parameters. Raises DatasetError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None
    header = HEADER.match(content)
    if header is None:
        raise DatasetError(path, None, "is no inventory of Sphinx, version 2; build the HTML again")
    try:
        lines = zlib.decompress(content[header.end() :]).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(path, None, f"is damaged ({error}); build the HTML again") from None
    entries = [entry for line in lines.splitlines() if (entry := _entry(line))]
    if not entries:
        raise DatasetError(path, None, "lists no definitions; its documentation describes no functions")
    project, version = (part.decode(errors="replace").strip() for part in header.groups())
    return Inventory(project, version, entries)


def _entry(line: str) -> Entry | None:
    parts = LINE.fullmatch(line)
    if parts is None or parts[2] == "std" or parts[3].endswith("Param"):
        return None
    name, location = parts[1], parts[4]
    if location.endswith("$"):
        location = location[:-1] + name
    page, _, fragment = location.partition("#")
    if not fragment:
        return None
    # Pages of the builder `dirhtml` are folders.
    page = f"{page}index.html" if page.endswith("/") or not page else page
    return Entry(f"{name}()" if parts[3] in CALLED else name, unquote(page), unquote(fragment))


def attributions(path: Path) -> Iterator[Attribution]:
    """Yield one per folder: name and version of its inventory, copyright of the first page with one."""
    for folder in folders_with(path, INVENTORY):
        name, version = folder.resolve().name, ""
        if (folder / INVENTORY).is_file():
            inventory = read_inventory(folder / INVENTORY)
            name, version = inventory.project, inventory.version
        yield Attribution(name, version, _copyright(folder), "")


def _copyright(folder: Path) -> str:
    for path in _paths(folder):
        for footer in Page(read_page(folder, path) or b"").all(".copyright, .footer, footer"):
            if notice := re.search(
                r"©.*?(?=\s*(\||Created using|Last updated|Built with|$))", node_text(footer)
            ):
                return notice[0].strip()
    return ""
