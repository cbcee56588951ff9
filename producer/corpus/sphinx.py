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
# name domain:role priority location title; names may hold blanks.
LINE = re.compile(r"(.+?) (\w+):(\S+) -?\d+ (\S+) .*")
CALLED = {"classmethod", "function", "method", "staticmethod"}
# Built from other pages, or no documentation.
NO_PAGES = re.compile(r"_(modules|sources|static)/|(genindex(-.*)?|search|(py-)?modindex)\.html$")


class Entry(NamedTuple):
    name: str
    page: str
    fragment: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """`objects.inv`: what a documentation defines, and where."""

    project: str
    version: str
    entries: list[Entry]

    @property
    def library(self) -> str:
        name = re.sub(r"\W+", "_", self.project.lower()).strip("_")
        return IMPORT_NAMES.get(name, name)


def read_sphinx(path: Path) -> Iterator[Passage]:
    """One passage per definition, in the order of the pages; a page is parsed once.

    `path` is such a folder, or holds several. Names come from the inventory; without one, from what the
    pages mark as definitions. Ids are as those of devdocs: `LIBRARY.PAGE#FRAGMENT`. Definitions that their
    page lacks are skipped and counted in a warning. Raises DatasetError.
    """
    for folder in folders_with(path, INVENTORY):
        yield from _listed(folder) if (folder / INVENTORY).is_file() else _marked(folder)


def _listed(folder: Path) -> Iterator[Passage]:
    inventory = read_inventory(folder / INVENTORY)
    by_page: dict[str, dict[str, str]] = {}
    for entry in inventory.entries:
        by_page.setdefault(entry.page, {}).setdefault(entry.fragment, entry.name)
    total = sum(map(len, by_page.values()))
    found = 0
    for path, names in sorted(by_page.items()):
        html = read_page(folder, path)
        page = None if html is None else Page(html)
        for fragment, name in names.items():
            if page is not None and (definition := page.definition(fragment)):
                found += 1
                identifier = f"{inventory.library}.{_dotted(path)}#{fragment}"
                yield Passage(identifier, name, *definition, inventory.library)
    if not found:
        problem = f"none of its {total:,} definitions is in the pages beside it; give a folder of HTML"
        raise DatasetError(folder / INVENTORY, None, problem)
    if found < total:
        log.warning("%s: %d of %d definitions are in no page: skipped", folder, total - found, total)


def _marked(folder: Path) -> Iterator[Passage]:
    """The library is what stands before the first full stop of a definition's id."""
    found = False
    for path in _paths(folder):
        page = Page(read_page(folder, path) or b"")
        for fragment, role in page.marked():
            if definition := page.definition(fragment):
                found = True
                library = fragment.partition(".")[0]
                name = f"{fragment}()" if role in CALLED else fragment
                yield Passage(f"{library}.{_dotted(path)}#{fragment}", name, *definition, library)
    if not found:
        problem = f"holds neither {INVENTORY} nor a page with definitions; give the HTML that Sphinx built"
        raise DatasetError(folder, None, problem)


def _paths(folder: Path) -> list[str]:
    paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
    return [path for path in paths if not NO_PAGES.search(path)]


def _dotted(path: str) -> str:
    return path.removesuffix(".html").lower().replace("/", ".")


def read_inventory(path: Path) -> Inventory:
    """Definitions of languages: no labels, pages, terms or parameters. Raises DatasetError."""
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
    """One per folder: name and version of its inventory, copyright of the first page that says one."""
    for folder in folders_with(path, INVENTORY):
        name, version = folder.resolve().name, ""
        if (folder / INVENTORY).is_file():
            inventory = read_inventory(folder / INVENTORY)
            name, version = inventory.project, inventory.version
        yield Attribution(name, version, _copyright(folder), "")


def _copyright(folder: Path) -> str:
    for path in _paths(folder):
        for footer in Page(read_page(folder, path) or b"").all(".copyright, .footer, footer"):
            if said := re.search(
                r"©.*?(?=\s*(\||Created using|Last updated|Built with|$))", node_text(footer)
            ):
                return said[0].strip()
    return ""
