"""Folders as devdocs publishes them, written from passages that are known.

The pages have the shapes of the real ones: definitions nested in classes, notes on versions, lists of
parameters, examples, links beside signatures, and a notice at the end.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

SLUGS = {
    "django": "django~4.0",
    "flask": "flask~2.0",
    "matplotlib": "matplotlib~3.5",
    "numpy": "numpy~1.22",
    "pandas": "pandas~1",
    "python": "python~3.9",
    "skimage": "scikit_image",
    "sklearn": "scikit_learn",
    "tensorflow": "tensorflow~2.4",
    "torch": "pytorch",
    "werkzeug": "werkzeug~2.0",
}
SOURCE = "[source]"
NOTICE = "&copy; The authors<br>Licensed under the PSF License."
Row = dict[str, Any]


def reference_rows(data: Path) -> list[Row]:
    """The reference passages, less those whose page devdocs did not have."""
    with gzip.open(data / "docs" / "python_docs_firstpara.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if "missing_page" not in row]


def signature_of(row: Row) -> str:
    """Return the heading of the definition. The reference data has an example where there is no heading."""
    signature = " ".join(row["signature"].split())
    if "#" not in row["id"] and not _is_call(row):
        return " ".join(row["name"].split()) if signature else ""
    return signature.removesuffix(SOURCE).rstrip()


def write_folders(rows: Iterable[Row], folder: Path) -> None:
    """One folder for each library."""
    libraries: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        library = row["id"].partition(".")[0]
        libraries.setdefault(library, {}).setdefault(_path(row).partition("#")[0], []).append(row)
    for library, pages in libraries.items():
        entries = [
            {"name": row["name"], "path": _path(row), "type": row["type"]}
            for page in pages.values()
            for row in page
        ]
        slug = SLUGS.get(library, library)
        write_folder(folder / slug, entries, {page: html(definitions) for page, definitions in pages.items()})


def write_folder(folder: Path, entries: list[Any], pages: dict[str, Any], **meta: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"entries": entries, "types": []}))
    (folder / "db.json").write_text(json.dumps(pages))
    if meta:
        (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def html(rows: list[Row]) -> str:
    """A page with all of its definitions."""
    fragments = {_fragment(row): row for row in rows}
    top = fragments.pop("", None)
    titled = [row for row in fragments.values() if not row["signature"]]
    defined = {key: row for key, row in fragments.items() if row["signature"]}
    parts = [_opening(top) if top else "<h1>Reference</h1> <p>What this page is about.</p>"]
    parts += [_definition(key, defined) for key in defined if _parent(key, defined) is None]
    for row in titled:
        words = f"<p>{escape(row['text'])}</p> <p>More of it.</p>" if row["text"] else ""
        parts.append(f'<h2 id="{_fragment(row)}">{escape(row["name"])}</h2> {words}')
    parts.append('<h2 id="-see-also">See also</h2> <p>Somewhere else.</p>')
    link = '<a href="https://docs.example/" class="_attribution-link">https://docs.example/</a>'
    parts.append(f'<div class="_attribution"><p class="_attribution-p">{NOTICE}<br> {link} </p></div>')
    return "\n".join(parts)


def _opening(row: Row) -> str:
    words = f"<p>{escape(row['text'])}</p>" if row["text"] else ""
    if not row["signature"]:
        return f"<h1>{escape(row['name'])}</h1> {words}"
    if row["id"].startswith("tensorflow.") and _is_call(row):
        block = f"<pre>{escape(row['signature'])}</pre>"
        return f"<h1>{escape(row['name'])}</h1> {words} {block} <h2>Guide</h2> <p>See it.</p>"
    path = _path(row).rpartition("/")[2]
    example = "" if _is_call(row) else f"<pre>{escape(row['signature'])}</pre>"
    return (
        f'<h1>{escape(row["name"])}</h1> <dl class="py function"> <dt class="sig" id="{path}">'
        f"{_heading(signature_of(row), '')}</dt> <dd>{words} {example} {PARAMETERS}</dd> </dl>"
    )


PARAMETERS = (
    '<dl class="field-list simple"> <dt>Parameters:</dt> <dd><p><strong>x</strong> - it</p></dd> </dl>'
)
ADDED = '<div class="versionadded"> <p><span class="versionmodified">New in version 3.</span></p> </div>'


def _definition(key: str, defined: dict[str, Row]) -> str:
    row = defined[key]
    members = "".join(_definition(inner, defined) for inner in defined if _parent(inner, defined) == key)
    words = f"<p>{escape(row['text'])}</p> <p>More words.</p> {ADDED}" if row["text"] else PARAMETERS
    link = f'<a class="reference internal" href="_modules/x#{key}">{SOURCE}</a>'
    heading = _heading(signature_of(row), link if row["signature"].endswith(SOURCE) else "")
    return f'<dl class="py method"> <dt id="{key}">{heading}</dt> <dd>{words} {members}</dd> </dl>\n'


def _heading(signature: str, link: str) -> str:
    name, bracket, rest = signature.partition("(")
    spans = f'<span class="sig-name">{escape(name)}</span>{bracket}<em>{escape(rest)}</em>'
    return f' <code>{spans}</code> {link}<a class="headerlink" href="#x">¶</a>'


def _parent(key: str, defined: dict[str, Row]) -> str | None:
    above = key.rpartition(".")[0]
    return above if above in defined else None


def _is_call(row: Row) -> bool:
    """Tell if the signature of a page is that of its function, not an example."""
    if row["id"].startswith("tensorflow."):
        return re.match(rf"(@\S+ )*{re.escape(row['name'])}\(", row["signature"]) is not None
    name = re.split(r"[. ]", row["name"].removesuffix("()"))[-1]
    return f"{name}(" in row["signature"] and ">>>" not in row["signature"]


def _fragment(row: Row) -> str:
    return str(row["id"].partition("#")[2])


def _path(row: Row) -> str:
    """The slashes of a path are lost in an id: any place will do but between the words of a name."""
    page, _, fragment = row["id"].partition(".")[2].partition("#")
    first, _, rest = page.partition(".")
    return (f"{first}/{rest}" if rest else first) + (f"#{fragment}" if fragment else "")
