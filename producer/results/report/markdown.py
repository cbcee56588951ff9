"""The report as Markdown with pipe tables; the best score of a student is bold."""

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

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def render_markdown(report: Report) -> str:
    headings = axes(report)
    align = ["---"] * len(headings) + ["---:"] * (1 + len(report.metrics))
    parts = [
        f"# {escape(report.experiment)}",
        f"Run {escape(report.run)}, {escape(report.state)}. Teacher: {escape(report.teacher)}. "
        f"Students: {escape(_students(report))}.",
        "## Synthetic set",
        _table(["", ""], ["---", "---:"], [[*map(escape, line)] for line in statistic_lines(report)]),
        "## Ablation",
        _table(
            [*headings, "n", *report.metrics.values()], align, [_row(report, row) for row in report.table]
        ),
        f"{INTERVALS} The best of each student is bold.",
        "\n".join(f"- {escape(note)}" for note in report.notes),
        *_section("Paired differences", effect_headings(report), effect_lines(report), EFFECTS_NOTE, words=2),
        *_section("Retrieval", QUALITY, quality_lines(report), QUALITY_NOTE),
        *_section("Failure modes", FAILING, failing_lines(report), FAILING_NOTE),
        *_section("Cost and latency", SPENDING, spending_lines(report), SPENDING_NOTE),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` as one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _students(report: Report) -> str:
    return ", ".join(f"{name} ({model})" for name, model in report.students.items())


def _row(report: Report, row: TableRow) -> list[str]:
    scores = []
    for name in report.metrics:
        measure = row.measures.get(name)
        if measure is None:
            scores.append(NOTHING)
            continue
        value = f"**{measure.value:.2f}**" if name in row.best else f"{measure.value:.2f}"
        scores.append(f"{value} {detail(measure)}")
    return [*(escape(word) for word in place(report, row)), answers(row), *scores]


def _section(
    title: str, headings: Sequence[str], lines: list[list[str]], note: str, words: int = 1
) -> list[str]:
    """A table with what is to be known of it, nothing where it has no lines. `words` columns hold text."""
    if not lines:
        return []
    align = ["---"] * words + ["---:"] * (len(headings) - words)
    table = _table([*headings], align, [[*map(escape, line)] for line in lines])
    return [f"## {title}", table, escape(note)]


def _table(headings: list[str], align: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [headings, align, *lines])
