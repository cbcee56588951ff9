"""The report as Markdown with pipe tables; the best score of a student is bold."""

from __future__ import annotations

import re

from producer.report.build import Report
from producer.report.layout import (
    EFFECT,
    EFFECTS_NOTE,
    NOTHING,
    QUALITY,
    QUALITY_NOTE,
    answers,
    axes,
    detail,
    effect_lines,
    place,
    quality_lines,
    statistic_lines,
)
from producer.report.notes import INTERVALS
from producer.report.tables import TableRow

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def render(report: Report) -> str:
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
        *_effects(report),
        *_retrieval(report),
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


def _effects(report: Report) -> list[str]:
    if not report.effects:
        return []
    align = ["---", "---", *["---:"] * (len(EFFECT) - 2)]
    lines = [[*map(escape, words)] for words in effect_lines(report)]
    return ["## Paired differences", _table([*EFFECT], align, lines), escape(EFFECTS_NOTE)]


def _retrieval(report: Report) -> list[str]:
    if not report.retrieval:
        return []
    align = ["---", *["---:"] * (len(QUALITY) - 1)]
    lines = [[*map(escape, words)] for words in quality_lines(report)]
    return ["## Retrieval", _table([*QUALITY], align, lines), QUALITY_NOTE]


def _table(headings: list[str], align: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [headings, align, *lines])
