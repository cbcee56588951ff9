"""The plot of cost against score: a point for each cell, a line through the optimal ones."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from producer.results.report.build import Report
from producer.results.report.cost_sections import CostedCell, costed_cells, has_prices
from producer.results.report.effects import decisive_metric
from producer.results.report.html.elements import WIDTH, axis_end, drawing, short, words

TOP, HEIGHT, LEFT, LEGEND_ROW = 18, 160, 34, 18


def cost_plots(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) if cells differ in cost."""
    cells = costed_cells(report)
    if len({cell.price for cell in cells}) > 1:
        heading = report.metrics[decisive_metric(report.metrics)]
        unit = "dollars of 1,000 answers" if has_prices(report) else "tokens of an answer"
        yield f"{heading} against {unit}; filled points are optimal", _scatter(cells, unit)


def _scatter(cells: list[CostedCell], unit: str) -> str:
    highest, dearest = max(cell.score for cell in cells), max(cell.price for cell in cells)
    top = axis_end(highest)

    def point(cell: CostedCell) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 10) * cell.price / dearest
        return x, TOP + (HEIGHT - TOP) * (1 - min(cell.score, top) / top)

    front = sorted((cell for cell in cells if cell.optimal), key=lambda cell: (cell.price, cell.score))
    line = " ".join("{:.1f},{:.1f}".format(*point(cell)) for cell in front)
    parts = [
        f'<path class="zero" d="M{LEFT} {HEIGHT}H{WIDTH}"/>',
        words(0, TOP + 4, f"{top:g} %", "tick"),
        words(0, HEIGHT, "0 %", "tick"),
        words(LEFT, HEIGHT + 16, "0", "tick"),
        words(WIDTH, HEIGHT + 16, f"{dearest:,.4g}", "tick figure"),
        f'<polyline class="curve colour0" points="{line}"/>',
    ]
    for cell in sorted(cells, key=lambda cell: cell.optimal):
        (x, y), style = point(cell), "sure" if cell.optimal else "unsure"
        title = f"<title>{escape(cell.cost.variant)}: {cell.score:.2f} % at {cell.price:,.4g} {unit}</title>"
        parts.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>')
    for number, cell in enumerate(front, 1):
        x, y = point(cell)
        parts.append(words(x, y - 8, str(number), "middle"))
        below = HEIGHT + 20 + number * LEGEND_ROW
        parts.append(words(0, below, short(f"{number}  {cell.cost.variant}, {cell.score:.1f} %")))
    height = HEIGHT + 28 + len(front) * LEGEND_ROW
    return drawing(f"Scores against {unit}, from 0 to {dearest:,.4g}", "".join(parts), height)
