"""The plots of scores against shots, and against the number of train rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from textwrap import wrap

from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.effects import decisive_metric
from producer.results.report.html.elements import WIDTH, axis_end, drawing, words
from producer.results.report.learning_curve import curves
from producer.results.report.sections import cell_label

CURVE_HEIGHT, CURVE_LEFT, LEGEND_ROW = 130, 34, 18
# No two of 60 lines have the same colour, dashes and marks, and no two of 20 the same colour and dashes.
COLOURS, DASHES = 5, 4
MARKS = ("m-3 -3h6v6h-6z", "m0 -4l4 7h-8z", "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z")
# Characters of a line of the legend, and the most that intervals of one position take up.
LEGEND_WIDTH, SPREAD = 42, 40


def shots_plots(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) of the decisive score against shots, by student and retrieval: a line for each
    source of rationales, from the cell without shots on."""
    metric = decisive_metric(report.metrics)
    scored = [row for row in report.table if metric in row.measures]
    if len({row.cell.shots for row in scored}) < 2:
        return
    top = axis_end(max(row.measures[metric].high for row in scored))
    for student, retrieval in dict.fromkeys((row.cell.student, row.cell.retrieval) for row in scored):
        group = [row for row in scored if (row.cell.student, row.cell.retrieval) == (student, retrieval)]
        lines: dict[str, list[TableRow]] = {}
        for row in group:
            if row.cell.shots:
                lines.setdefault(cell_label(row.cell).partition(", ")[2] or "exemplars", []).append(row)
        start = [row for row in group if not row.cell.shots and not row.cell.augment_test]
        lines = {name: sorted(start + rows, key=lambda row: row.cell.shots) for name, rows in lines.items()}
        if lines:
            parts = [f"{report.metrics[metric]} against shots"]
            parts += [student] if len(report.students) > 1 else []
            yield (
                ", ".join([*parts, *filter(None, [retrieval])]),
                _curves(lines, metric, top, lambda cell: cell.shots),
            )


def learning_plots(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) of the decisive score against the number of train rows, by student and retrieval:
    a line for each other way to show exemplars."""
    metric, by_cell = decisive_metric(report.metrics), curves(report)
    top = axis_end(max((row.measures[metric].high for each in by_cell.values() for row in each.values()),
                       default=0.0))  # fmt: skip
    for student, retrieval in dict.fromkeys((cell.student, cell.retrieval) for cell in by_cell):
        lines = {
            cell_label(cell): [*by_size.values()]
            for cell, by_size in by_cell.items()
            if (cell.student, cell.retrieval) == (student, retrieval)
        }
        parts = [f"{report.metrics[metric]} against train rows"]
        parts += [student] if len(report.students) > 1 else []
        caption = ", ".join([*parts, *filter(None, [retrieval])])
        yield caption, _curves(lines, metric, top, lambda cell: cell.train_rows)


def _curves(
    lines: Mapping[str, list[TableRow]], metric: str, top: float, position: Callable[[Cell], int]
) -> str:
    """Draw a line for each name; positions across stand at equal distances."""
    ticks = sorted({position(row.cell) for rows in lines.values() for row in rows})
    step = (WIDTH - CURVE_LEFT - 32) / max(1, len(ticks) - 1)
    below = CURVE_HEIGHT + 24

    def point(row: TableRow, value: float) -> tuple[float, float]:
        x = CURVE_LEFT + 8 + ticks.index(position(row.cell)) * step
        return x, 8 + (CURVE_HEIGHT - 8) * (1 - value / top)

    parts = [
        f'<path class="zero" d="M{CURVE_LEFT} {CURVE_HEIGHT}H{WIDTH}"/>',
        words(0, 14, f"{top:g} %", "tick"),
        words(0, CURVE_HEIGHT, "0 %", "tick"),
        *(words(CURVE_LEFT + 8 + i * step, CURVE_HEIGHT + 16, f"{n:,}", "tick middle")
          for i, n in enumerate(ticks)),
    ]  # fmt: skip
    apart = min(3.0, SPREAD / len(lines))
    for number, (name, rows) in enumerate(lines.items()):
        colour, mark = f"colour{number % COLOURS}", MARKS[number % len(MARKS)]
        style = f"curve {colour} dashes{number % DASHES}"
        line = " ".join("{:.1f},{:.1f}".format(*point(row, row.measures[metric].value)) for row in rows)
        parts.append(f'<polyline class="{style}" points="{line}"/>')
        for row in rows:
            measure = row.measures[metric]
            (x, low), (_, high), (_, y) = (
                point(row, value) for value in (measure.low, min(measure.high, top), measure.value)
            )
            title = f"<title>{escape(row.cell.name)}: {measure.value:.2f} %</title>"
            parts.append(f'<path class="mark {colour}" d="M{x:.1f} {y:.1f}{mark}">{title}</path>')
            x += apart * (number - (len(lines) - 1) / 2)  # intervals stand side by side
            parts.append(f'<path class="curve {colour}" d="M{x:.1f} {low:.1f}V{high:.1f}">{title}</path>')
        parts.append(f'<path class="{style}" d="M{CURVE_LEFT - 16} {below + 8}h40"/>')
        parts.append(f'<path class="mark {colour}" d="M{CURVE_LEFT + 4} {below + 8}{mark}"/>')
        for part in wrap(name, LEGEND_WIDTH):
            parts.append(words(CURVE_LEFT + 32, below + 12, part))
            below += LEGEND_ROW
    return drawing(f"Scores, axis from 0 to {top:g} percent", "".join(parts), below)
