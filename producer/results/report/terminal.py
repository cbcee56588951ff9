"""The tables that a terminal or a pipe shows at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from producer.results.report import sections
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.sections import Section

CAPTION = "Percent, with half of the 95 % bootstrap interval. * best of the student."


class Unfolded:
    """A table that keeps each row on one line where the output is no terminal and has no width."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else 1000
        yield from console.render(self.table, options.update(width=width))


def summary_tables(report: Report) -> Iterator[RenderableType]:
    yield section_table(sections.synthetic_set(report))
    yield ablation_table(report)
    if report.retrieval:
        yield section_table(sections.retrieval(report))


def section_table(section: Section) -> Group:
    table = _table(section.title, show_header=any(section.headings))
    for number, heading in enumerate(section.headings):
        table.add_column(heading.lower(), justify="left" if number in section.text_columns else "right")
    for row in section.rows:
        table.add_row(*(Text(value.text) for value in row))
    return Group(Unfolded(table), *([Text(section.note)] if section.note else []))


def ablation_table(report: Report) -> Group:
    """Return the ablation with one column for a cell's name, narrow enough for 100 characters."""
    table = _table("Ablation")
    several = len(report.students) > 1
    table.add_column("student / cell" if several else "cell", overflow="fold")
    for name in ("n", *report.metrics.values()):
        table.add_column(name, justify="right")
    student = None
    for row in report.table:
        if several and row.cell.student != student:
            student = row.cell.student
            table.add_row(Text(student))
        label = sections.cell_label(row.cell, row.cell.retrieval)
        label += ", augmented" if row.cell.augment_test else ""
        scores = (_score(row, name) for name in report.metrics)
        table.add_row(Text("  " * several + label), sections.answer_count(row), *scores)
    return Group(Unfolded(table), *map(Text, (CAPTION, *report.notes)))


def _table(title: str, *, show_header: bool = True) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=show_header)


def _score(row: TableRow, name: str) -> Text:
    measure = row.measures.get(name)
    if measure is None:
        return Text(sections.NOTHING + " ")
    best = name in row.best
    half = (measure.high - measure.low) / 2
    return Text(f"{measure.value:.2f} ±{half:.1f}{'*' if best else ' '}", style="bold" if best else "")
