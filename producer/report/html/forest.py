"""Paired differences as a forest plot: a dot with its interval, beside the line of no difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from producer.report.build import Report
from producer.report.effects import Comparison
from producer.report.html.elements import LABEL, WIDTH, drawing, short, whisker, words

ROW, AXIS = 36, 22
FIGURES = 66
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)


def forests(report: Report) -> Iterator[tuple[str, str]]:
    """(caption, SVG) for each metric."""
    if report.effects:
        for name, heading in report.compared.items():
            yield f"{heading}, difference in percent points", _forest(report, name)


def label(report: Report, found: Comparison) -> str:
    """`2-shot/star vs 0-shot`: the student only where there are several."""
    pair = found.cell.variant, found.against.variant
    if len(report.students) == 1:
        pair = pair[0].partition("/")[2], pair[1].partition("/")[2]
    return " vs ".join(pair)


def _forest(report: Report, metric: str) -> str:
    reach = _reach(report.effects, metric)
    middle = (WIDTH - FIGURES) / 2
    scale = (middle - 4) / reach
    bottom = len(report.effects) * ROW + 4
    # The line of no difference leaves out the labels.
    zero = "".join(f"M{middle:g} {place * ROW + 17}v17" for place in range(len(report.effects)))
    parts = [f'<path class="zero" d="{zero}"/>']
    for place, found in enumerate(report.effects):
        effect, y = found.differences[metric], place * ROW
        low, at, high = (middle + value * scale for value in (effect.low, effect.value, effect.high))
        style = "sure" if effect.significant else "unsure"
        mark = "*" if effect.significant else ""
        parts += [
            words(0, y + 13, short(label(report, found), LABEL)),
            whisker(y + 25, low, high, (low, high), style),
            f'<circle class="{style}" cx="{at:.1f}" cy="{y + 25}" r="4.5"/>',
            words(WIDTH, y + 29, f"{effect.value:+.2f}{mark}", "figure"),
        ]
    ticks = ((4, f"{-reach:g}", ""), (middle, "0", "middle"), (WIDTH - FIGURES - 4, f"+{reach:g}", "figure"))
    parts += [words(x, bottom + 14, text, f"tick {style}".strip()) for x, text, style in ticks]
    heading = report.compared[metric]
    title = f"{heading}: differences with 95 % intervals, axis from {-reach:g} to {reach:g} points"
    return drawing(title, "".join(parts), bottom + AXIS)


def _reach(effects: Sequence[Comparison], metric: str) -> float:
    found = [each.differences[metric] for each in effects]
    most = max(max(abs(each.low), abs(each.high)) for each in found)
    return next((size for size in SIZES if most <= size), 100.0)
