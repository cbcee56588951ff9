"""Read HTML documentation: the folders that hold it, and signature and first paragraph of each definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models.core.errors import DatasetError, ServiceError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


TITLES = ("h1", "h2", "h3", "h4", "h5", "h6")
HEADINGS = {"dt", *TITLES}
CONTAINERS = {"article", "div", "dl", "header", "main", "section"}
# These hold no paragraph of the definition; a `dl` inside it lists parameters or members.
SKIPPED = {"aside", "dl", "figure", "footer", "nav", "pre", "script", "style", "table", "ul", "ol"}
SKIPPED_CLASSES = {"_attribution", "admonition-title", "footer", "related", "rubric", "sphinxsidebar"}
NOTES = {"admonition", "deprecated", "versionadded", "versionchanged", "versionremoved"}
# Links beside a heading; some documentation shows them as paragraphs.
LINK_TEXTS = {"¶", "[source]", "[docs]", "#"}
NO_WORDS = re.compile(r"source code:.*|view source( on github)?|\[source\]", re.IGNORECASE)
CALL = re.compile(r"[\w.]+\(.*\)( (->|→) .+)?")
# So many levels may lie between a heading and the anchor in it.
ANCESTORS = 3


class Definition(NamedTuple):
    signature: str
    text: str


class Page:
    """A parsed page. Raises ServiceError if selectolax is not installed."""

    def __init__(self, html: str | bytes) -> None:
        try:
            from selectolax.lexbor import LexborHTMLParser
        except ModuleNotFoundError:
            raise ServiceError(
                "HTML documentation needs selectolax: pip install 'starmill[retrieve]'"
            ) from None
        source = html if isinstance(html, bytes) else html.encode(errors="replace")
        # Nodes are only valid while their tree exists.
        self._tree = LexborHTMLParser(source)
        for line_break in self._tree.css("br"):
            line_break.replace_with("\n")
        for link in self._tree.css("a, .viewcode-link"):
            if node_text(link) in LINK_TEXTS:
                link.decompose()
        self._nodes: dict[str, LexborNode] = {}
        for node in self._tree.css("[id]"):
            self._nodes.setdefault(node.attrs.sget("id"), node)

    def definition(self, fragment: str) -> Definition | None:
        """Return the definition at the element with this id; None without such an element."""
        node = self._nodes.get(fragment)
        return None if node is None else _describe(node)

    def opening(self, names: set[str]) -> Definition:
        """Return the definition with one of `names`, in any case; else the page's title and text."""
        wanted = {name.lower() for name in names}
        for identifier, node in self._nodes.items():
            if node.tag == "dt" and identifier.lower() in wanted:
                return _describe(node)
        title = self._tree.css_first("h1") or self._tree.body
        return _describe(title) if title else Definition("", "")

    def definitions(self) -> Iterator[tuple[str, str]]:
        """Yield id and role (`function`, `method`) of the definitions that Sphinx marks, in page order."""
        for identifier, node in self._nodes.items():
            if node.tag != "dt" or node.parent is None:
                continue
            # Before Sphinx 4, only the list around a definition was marked.
            kinds = node.parent.attrs.sget("class").split()
            if "sig" in css_classes(node) or kinds[:1] == ["py"]:
                yield identifier, kinds[1] if len(kinds) > 1 else ""

    def all(self, selector: str) -> list[LexborNode]:
        return self._tree.css(selector)

    def words(self) -> str:
        """Return all text, with single blanks."""
        return node_text(self._tree.body) if self._tree.body else ""


def node_text(node: LexborNode) -> str:
    return " ".join(node.text().split())


def css_classes(node: LexborNode) -> set[str]:
    return set(node.attrs.sget("class").split())


def _describe(node: LexborNode) -> Definition:
    heading = _heading(node)
    if heading is None and (node.tag in {"code", "pre"} or "sig" in css_classes(node)):
        return Definition(node_text(node), _first_paragraph(_element_after(node, None), None))
    if heading is None:
        return Definition("", _first_paragraph(_enclosing(node, {"p"}) or node, None))
    if heading.tag == "dt":
        body = _next_element(heading.next)
        while body is not None and body.tag == "dt":
            body = _next_element(body.next)
        text = _first_paragraph(body.first_child, body) if body is not None and body.tag == "dd" else ""
        return Definition(node_text(heading), text)
    return Definition(_signature_of_title(heading), _first_paragraph(_element_after(heading, None), None))


def _heading(node: LexborNode) -> LexborNode | None:
    """Return the heading of an id, which may be on it, in it, around it, or just before it."""
    if (outer := _enclosing(node, HEADINGS)) is not None:
        return outer
    if node.tag in CONTAINERS and (inner := node.css_first(", ".join(HEADINGS))) is not None:
        return inner
    following = None if node_text(node) else _next_element(node.next)
    if following is None:
        return None
    if following.tag in HEADINGS:
        return following
    return following.css_first("dt") if following.tag == "dl" else None


def _enclosing(node: LexborNode, tags: set[str]) -> LexborNode | None:
    above: LexborNode | None = node
    for _ in range(ANCESTORS + 1):
        if above is None or above.tag in tags:
            return above
        above = above.parent
    return None


def _signature_of_title(title: LexborNode) -> str:
    """Return a title that is code or a call, or the call in a block below it; else an empty string."""
    name = node_text(title)
    call = re.compile(rf"(@\S+ )*{re.escape(name.removesuffix('()'))}\(")
    for node in _elements(_element_after(title, None), None):
        if node.tag == "pre" and call.match(block := node_text(node)):
            return block
    codes = [node_text(code) for code in title.css("code")]
    if codes and " ".join(codes) == name:
        return codes[0]
    return name if CALL.fullmatch(name) else ""


def _first_paragraph(start: LexborNode | None, within: LexborNode | None) -> str:
    """Return the first paragraph that describes, else the first note on versions or link to the source."""
    fallback = ""
    for node in _elements(start, within):
        if node.tag == "p" and (text := node_text(node)):
            if not (_is_in_note(node) or NO_WORDS.fullmatch(text)):
                return text
            fallback = fallback or text
    return fallback


def _is_in_note(node: LexborNode) -> bool:
    return node.parent is not None and bool(css_classes(node.parent) & NOTES)


def _elements(start: LexborNode | None, within: LexborNode | None) -> Iterator[LexborNode]:
    """Yield elements from `start` in document order, up to the next definition or the end of `within`."""
    node = _next_element(start)
    while node is not None:
        if node.tag in TITLES or _defines(node):
            return
        is_skipped = node.tag in SKIPPED or css_classes(node) & SKIPPED_CLASSES
        if node.tag == "pre" or not is_skipped:
            yield node
        child = None if is_skipped or node.tag == "p" else _next_element(node.first_child)
        node = child if child is not None else _element_after(node, within)


def _defines(node: LexborNode) -> bool:
    return node.tag in {"dl", "dt"} and (bool(node.attrs.sget("id")) or node.css_first("dt[id]") is not None)


def _element_after(node: LexborNode, within: LexborNode | None) -> LexborNode | None:
    """Return the element after `node` and all its content."""
    above: LexborNode | None = node
    while above is not None and above != within:
        if (following := _next_element(above.next)) is not None:
            return following
        above = above.parent
    return None


def _next_element(node: LexborNode | None) -> LexborNode | None:
    """Return `node`, or the element that follows it if it is text or a comment."""
    while node is not None and not node.is_element_node:
        node = node.next
    return node


# Projects that are imported under another name.
IMPORT_NAMES = {"pytorch": "torch", "scikit_image": "skimage", "scikit_learn": "sklearn"}


def folders_with(path: Path, marker: str) -> list[Path]:
    """Return the visible subfolders that hold the file `marker`, sorted by name.

    Return `path` itself if it holds the file, or if none does. Raises DatasetError.
    """
    if not path.is_dir():
        problem = "is a file; give its folder" if path.exists() else "no such folder; check passages.path"
        raise DatasetError(path, None, problem)
    if (path / marker).is_file():
        return [path]
    return [folder for folder in subfolders(path) if (folder / marker).is_file()] or [path]


def subfolders(path: Path) -> list[Path]:
    try:
        return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name[:1] != "."]
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None


def read_page(folder: Path, path: str) -> bytes | None:
    """Read a file below `folder`; return None if it does not exist or `path` leads out of the folder."""
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(file, None, f"cannot be read: {error.strerror or error}") from None
