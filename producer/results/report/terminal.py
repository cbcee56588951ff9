"""The report's tables for a terminal or a pipe, one line per cell."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.sections import (
    NOTHING,
    QUALITY,
    QUALITY_NOTE,
    RATIONALES,
    answers,
    quality_lines,
    statistic_lines,
)

CAPTION = "Percent, with half of the 95 % bootstrap interval. * best of the student."


class Unfolded:
    """A table that keeps each row on one line where the output is no terminal and has no width."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else 1000
        yield from console.render(self.table, options.update(width=width))


def statistics_table(report: Report) -> Unfolded:
    table = Table(title="Synthetic set", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    for what, number in statistic_lines(report):
        table.add_row(Text(what), Text(number))
    return Unfolded(table)


def ablation_table(report: Report) -> Group:
    table = Table(title="Ablation", title_justify="left", box=None, pad_edge=False)
    several = len(report.students) > 1
    table.add_column("student / cell" if several else "cell", overflow="fold")
    table.add_column("n", justify="right")
    for name in report.metrics.values():
        table.add_column(name, justify="right")
    student = None
    for row in report.table:
        if several and row.cell.student != student:
            student = row.cell.student
            table.add_row(Text(student))
        label = Text(("  " if several else "") + _label(row))
        table.add_row(label, answers(row), *(_score(row, name) for name in report.metrics))
    notes = [Text(note) for note in (CAPTION, *report.notes)]
    return Group(Unfolded(table), *notes)


def retrieval_table(report: Report) -> Group:
    table = Table(title="Retrieval", title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(QUALITY):
        table.add_column(heading.lower(), justify="right" if place else "left")
    for words in quality_lines(report):
        table.add_row(*map(Text, words))
    return Group(Unfolded(table), Text(QUALITY_NOTE))


def _label(row: TableRow) -> str:
    cell = row.cell
    parts = [f"{cell.shots}-shot"]
    parts += [cell.retrieval] if cell.retrieval else []
    parts += [RATIONALES[cell.rationale]] if cell.rationale != "none" else []
    parts += ["augmented"] if cell.augment_test else []
    return ", ".join(parts)


def _score(row: TableRow, name: str) -> Text:
    measure = row.measures.get(name)
    if measure is None:
        return Text(NOTHING + " ")
    best = name in row.best
    half = (measure.high - measure.low) / 2
    return Text(f"{measure.value:.2f} ±{half:.1f}{'*' if best else ' '}", style="bold" if best else "")
