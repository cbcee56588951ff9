"""The report as Markdown with pipe tables; the best score of a student is bold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from producer.results.report.build import Report
from producer.results.report.sections import headline, report_sections
from producer.results.report.table_parts import Section, Value

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def render_markdown(report: Report) -> str:
    parts = [f"# {escape(report.experiment)}", escape(headline(report))]
    for section in report_sections(report):
        parts += _parts(section)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return `text` as one line that Markdown shows unchanged."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _parts(section: Section) -> Iterator[str]:
    yield f"## {escape(section.title)}"
    if section.rows:
        yield _table(section)
    if section.note:
        yield escape(section.note)
    if section.remarks:
        yield "\n".join(f"- {escape(remark)}" for remark in section.remarks)


def _table(section: Section) -> str:
    alignment = ["---" if n in section.text_columns else "---:" for n in range(len(section.headings))]
    lines = [map(escape, section.headings), alignment, *(map(_value, row) for row in section.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(value: Value) -> str:
    text = f"**{escape(value.text)}**" if value.best else escape(value.text)
    return f"{text} {value.detail}" if value.detail else text
