r"""The report as a LaTeX document with booktabs tables.

It compiles with any engine. To use a table elsewhere, copy its `table` environment into a
document that loads booktabs and graphicx.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from producer.results.report.build import Report
from producer.results.report.provenance import TITLE, provenance_rows
from producer.results.report.sections import headline, report_sections
from producer.results.report.table_parts import Section, Value

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
}  # fmt: skip
# A hyphen before a number, as in -2.5 and not as in 2-shot.
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
# Without lmodern T1 has letters of pixels on a small installation.
_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=2cm]{geometry}
\begin{document}
\sloppy"""


def render_latex(report: Report) -> str:
    title = rf"\section*{{{escape(report.experiment)}}}"
    lines = [*_provenance(report), _PREAMBLE, title, escape(headline(report))]
    for section in report_sections(report):
        if section.title == TITLE:
            continue
        if section.rows:
            lines += _table(section, f"{section.title} in run {report.run}. {section.note}")
        if section.remarks:
            items = [rf"\item {escape(remark)}" for remark in section.remarks]
            lines += [r"\begin{itemize}", *items, r"\end{itemize}"]
    return "\n".join([*lines, r"\end{document}", ""])


def _provenance(report: Report) -> list[str]:
    """Return it as comments, which a copied table keeps beside it and no page shows."""
    rows = provenance_rows(report.provenance)
    return ["% " + " ".join(f"{name}: {value}".split()) for name, value in rows]


def escape(text: str) -> str:
    """Return `text` as LaTeX prints it. A character that pdfLaTeX cannot print becomes its code point."""
    shown = (char if _printable(char) else f"U+{ord(char):04X}" for char in " ".join(text.split()))
    escaped = "".join(_ESCAPES.get(char, char) for char in shown)
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", escaped)


def _printable(char: str) -> bool:
    return " " <= char <= "~" or "\u00c0" <= char <= "\u017e"


def _table(section: Section, caption: str) -> list[str]:
    alignment = "".join("l" if n in section.text_columns else "r" for n in range(len(section.headings)))
    head = [_row(map(escape, section.headings)), r"\midrule"] if any(section.headings) else []
    return [
        r"\begin{table}[ht]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        r"\medskip",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *head,
        *(_row(map(_value, row)) for row in section.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]


def _row(values: Iterable[str]) -> str:
    return " & ".join(values) + r" \\"


def _value(value: Value) -> str:
    text, detail = (_MINUS.sub("$-$", escape(part)) for part in (value.text, value.detail))
    bold = rf"\textbf{{{text}}}" if value.best else text
    return rf"{bold} {{\scriptsize {detail}}}" if detail else bold
