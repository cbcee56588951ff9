"""The pages of documentation, and what may be read out of them."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
    for pattern in ("README.md", "CONCEPTS.md", "[a-z]*/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
}
README = PAGES["README.md"]
# Written from the code.
REFERENCE = "producer/REFERENCE.md"
WRITTEN_BY_HAND = {page: text for page, text in PAGES.items() if page != REFERENCE}
# A link or an image that leads to a file beside the page, or to a heading.
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)")


def prose(page: str) -> str:
    """A page less its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def sentences(page: str) -> list[str]:
    """Return the sentences of a page, less blocks of code, tables and headings. A point of a list is one."""
    text = re.sub(r"^(\||#|!\[).*$", "", prose(page), flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|(?<=[.!?])[*)\"”]*\s+", text)
    return [" ".join(part.split()) for part in parts if re.search(r"\w", part)]


def anchors(page: str) -> set[str]:
    """Return the targets of links behind `#`: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(page: str, heading: str) -> str:
    """Return the text under a heading of the second rank."""
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert match, f"no section {heading}"
    return match[1]


def named_files(page: str) -> set[str]:
    """Paths in backquotes that begin with a folder of the repository, or name its lock files."""
    folders = "|".join(sorted(path.name for path in REPOSITORY.glob("[a-z]*/")))
    return set(re.findall(rf"`((?:{folders})/[\w./-]*|[\w-]+\.(?:lock|toml))`", prose(page)))


def ignored() -> set[str]:
    """Files that a user makes, which git does not keep."""
    return {line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines()}
