"""The tables that a terminal or a pipe shows at the end of a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import shorten

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from producer.results.report import sections
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.contrast_sections import main_effects_in
from producer.results.report.effects import decisive_metric
from producer.results.report.learning_curve import learning_curve
from producer.results.report.provenance import REPEAT
from producer.results.report.score_columns import ScoreColumn, score_columns
from producer.results.report.step_sections import by_columns, steps, verdicts
from producer.results.report.synthetic_samples import OUTCOMES, SyntheticSample
from producer.results.report.table_parts import NOTHING, Section

CAPTION = "Percent, with 95 % intervals. ^ best of the student."


class Unfolded:
    """A table that keeps each row on one line where the output is no terminal and has no width."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else 1000
        yield from console.render(self.table, options.update(width=width))


def summary_tables(report: Report) -> Iterator[RenderableType]:
    yield section_table(sections.synthetic_set(report))
    for section in (steps(report), verdicts(report)):
        if section.rows:
            yield section_table(section)
    if report.table:
        yield ablation_table(report)
        if effects := main_effects_in(report, decisive_metric(report.metrics)):
            yield section_table(effects)
        if (curve := learning_curve(report)).rows:
            yield section_table(curve)
    elif report.notes:
        yield Group(*map(Text, report.notes))
    if report.retrieval:
        yield section_table(sections.retrieval(report))
    yield from (section_table(section, own_words=False) for section in by_columns(report))
    if report.provenance.configuration:
        yield _provenance_table(report)


def line_to_repeat(report: Report) -> str:
    """Return the line that repeats the run, which no table may fold; empty if there is none."""
    line = report.provenance.line
    return f"{REPEAT}: {line}" if line else ""


def _provenance_table(report: Report) -> Group:
    section = sections.origin(report)
    rows = [row for row in section.rows if row[0].text != REPEAT or not report.provenance.line]
    return section_table(replace(section, rows=rows))


def rows_to_look_at(run: str, samples: Sequence[SyntheticSample]) -> Iterator[str]:
    """Yield the commands that show a train row of each outcome, and many rows as a page."""
    first = {sample.outcome: sample for sample in reversed(samples)}
    for outcome, title in OUTCOMES.items():
        if sample := first.get(outcome):
            command = f"starmill show {run} {shlex.quote(sample.question_id)}"
            yield f"{title}: {shorten(sample.summary, 60)}: `{command}`"
    if samples:
        yield f"Rows as a page: `starmill report {run} --format html -o {run}.html`"


def section_table(section: Section, *, own_words: bool = True) -> Group:
    """Return the section; headings that are the user's own words stay as they are."""
    table = _table(section.title, show_header=any(section.headings))
    for number, heading in enumerate(section.headings):
        name = Text(heading.lower() if own_words else heading)
        table.add_column(name, justify="left" if number in section.text_columns else "right")
    for row in section.rows:
        table.add_row(*(Text(f"{value.text} {value.detail}".rstrip()) for value in row))
    return Group(Unfolded(table), *map(Text, filter(None, (section.note, *section.remarks))))


def ablation_table(report: Report) -> Group:
    """Return the ablation with one column for a cell's name, narrow enough for 100 characters."""
    table = _table("Ablation")
    several = len(report.students) > 1
    table.add_column("student / cell" if several else "cell", overflow="fold")
    columns = score_columns(report)
    for name in ("n", *(column.heading for column in columns)):
        table.add_column(name, justify="right")
    student = None
    for row in report.table:
        if several and row.cell.student != student:
            student = row.cell.student
            table.add_row(Text(student))
        label = sections.cell_label(row.cell, row.cell.retrieval)
        label += ", augmented" if row.cell.augment_test else ""
        scores = (_score(row, column) for column in columns)
        table.add_row(Text("  " * several + label), row.answer_count, *scores)
    return Group(Unfolded(table), *map(Text, (CAPTION, *report.notes)))


def _table(title: str, *, show_header: bool = True) -> Table:
    return Table(title=Text(title), title_justify="left", box=None, pad_edge=False, show_header=show_header)


def _score(row: TableRow, column: ScoreColumn) -> Text:
    measure = column.measure(row)
    if measure is None:
        return Text(NOTHING + " ")
    best = column.is_best(row)
    interval = f"[{measure.low:.0f},{measure.high:.0f}]"
    return Text(f"{measure.value:.1f} {interval}{'^' if best else ' '}", style="bold" if best else "")
