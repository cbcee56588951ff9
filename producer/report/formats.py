"""Which formats there are. Each renderer turns a Report into the whole text of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from producer.report import document, html, latex, markdown, spreadsheet
from producer.report.build import Report

RENDERERS: Mapping[str, Callable[[Report], str]] = {
    "markdown": markdown.render,
    "latex": latex.render,
    "csv": spreadsheet.render,
    "json": document.render,
    "html": html.render,
}
