r"""The report as a LaTeX document with booktabs tables.

It compiles as it is with any engine. To use a table elsewhere, copy its `table` environment into a
document that loads booktabs and graphicx.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from producer.results.report.ablation_table import TableRow
from producer.results.report.build import INTERVALS, Report
from producer.results.report.sections import (
    EFFECTS_NOTE,
    FAILING,
    FAILING_NOTE,
    NOTHING,
    QUALITY,
    QUALITY_NOTE,
    SPENDING,
    SPENDING_NOTE,
    answers,
    axes,
    detail,
    effect_headings,
    effect_lines,
    failing_lines,
    place,
    quality_lines,
    spending_lines,
    statistic_lines,
)

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
}  # fmt: skip
# A hyphen before a number, as in -2.5 and not as in 2-shot.
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def render_latex(report: Report) -> str:
    headings = axes(report)
    body = [" & ".join(_row(report, row)) + r" \\" for row in report.table]
    of_run = f" in run {report.run}"
    columns = [*headings, "n", *report.metrics.values()]
    title = f"{report.experiment}: run {report.run}, {report.state}, teacher {report.teacher}."
    caption = escape(f"{title} {INTERVALS} The best of each student is bold.")
    return "\n".join([
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage{textcomp}",
        # Without it T1 has letters of pixels on a small installation.
        r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
        r"\usepackage{booktabs}",
        r"\usepackage{graphicx}",
        r"\usepackage[margin=2cm]{geometry}",
        r"\begin{document}",
        r"\sloppy",
        *_table("l" * len(headings) + "r" * (1 + len(report.metrics)), columns, body, caption),
        *_notes(report),
        *_section("llr" + "r" * len(report.compared), effect_headings(report), effect_lines(report),
                  f"Paired differences{of_run}. {EFFECTS_NOTE}"),
        *_section("lrrrr", QUALITY, quality_lines(report), f"Documentation shown{of_run}. {QUALITY_NOTE}"),
        *_section("lrrll", FAILING, failing_lines(report), f"Failure modes{of_run}. {FAILING_NOTE}"),
        *_section("lrrrrrrrr", SPENDING, spending_lines(report), f"Calls bought{of_run}. {SPENDING_NOTE}"),
        *_section("lr", ["Synthetic set", ""], [[*line] for line in statistic_lines(report)],
                  f"The synthetic set{of_run}."),
        r"\end{document}",
        "",
    ])  # fmt: skip


def escape(text: str) -> str:
    """`text` as LaTeX prints it. What pdfLaTeX has no letter for is shown as its code point."""
    shown = (char if _printable(char) else f"U+{ord(char):04X}" for char in " ".join(text.split()))
    escaped = "".join(_ESCAPES.get(char, char) for char in shown)
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", escaped)


def _printable(char: str) -> bool:
    return " " <= char <= "~" or "\u00c0" <= char <= "\u017e"


def _table(align: str, headings: list[str], lines: list[str], caption: str) -> list[str]:
    return [
        r"\begin{table}[ht]",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\medskip",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        " & ".join(map(escape, headings)) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]


def _row(report: Report, row: TableRow) -> list[str]:
    scores = []
    for name in report.metrics:
        measure = row.measures.get(name)
        if measure is None:
            scores.append(NOTHING)
            continue
        value = f"{measure.value:.2f}"
        bold = rf"\textbf{{{value}}}" if name in row.best else value
        scores.append(rf"{bold} {{\scriptsize {detail(measure)}}}")
    return [*map(escape, place(report, row)), answers(row), *scores]


def _section(align: str, headings: Sequence[str], lines: list[list[str]], caption: str) -> list[str]:
    """A table of texts, nothing where it has no lines."""
    body = [_MINUS.sub("$-$", " & ".join(map(escape, line))) + r" \\" for line in lines]
    return _table(align, [*headings], body, escape(caption)) if lines else []


def _notes(report: Report) -> list[str]:
    if not report.notes:
        return []
    items = [rf"\item {escape(note)}" for note in report.notes]
    return [r"\begin{itemize}", *items, r"\end{itemize}"]
