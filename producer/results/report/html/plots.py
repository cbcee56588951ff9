"""Bars of cells and stages: scores with intervals, what became of units, tokens, latency.

Paired differences as a forest plot: a dot with its interval, beside the line of no difference.

The grid as a heat map: one for each student, wording and metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report, StageCount
from producer.results.report.effects import CellComparison
from producer.results.report.html.elements import LABEL, WIDTH, drawing, rect, short, whisker, words
from producer.results.report.measures import StageSpending
from producer.results.report.sections import cell_label

BAR_ROW = 34
BAR_FIGURES = 62
STATES = ("done", "skipped", "failed", "left")
TOKENS = ("prompt", "completion")


def metric_plot(report: Report, metric: str) -> str:
    """A bar for each cell with a score, its confidence interval as a whisker."""
    scored = [row for row in report.table if metric in row.measures]
    if not scored:
        return ""
    top = _axis_end(max(row.measures[metric].high for row in scored))
    bars = "".join(_bar(row, metric, top, number * BAR_ROW) for number, row in enumerate(scored))
    return _rows(f"{report.metrics[metric]} of each cell, axis from 0 to {top:g} percent", bars, len(scored))


def stage_plot(report: Report) -> str:
    """What became of the units of each stage."""
    bars = "".join(_stacked(stage, number * BAR_ROW) for number, stage in enumerate(report.stages))
    return _rows("Units of each stage by state", bars, len(report.stages))


def token_plot(report: Report) -> str:
    """Prompt and completion tokens of each stage; the figure is its cost in dollars."""
    most = max((each.prompt_tokens + each.completion_tokens for each in report.spending), default=0)
    bars = "".join(_tokens(each, most, number * BAR_ROW) for number, each in enumerate(report.spending))
    return _rows("Tokens of each stage, with dollars", bars, len(report.spending)) if most else ""


def latency_plot(report: Report) -> str:
    """A bar to the median, a line on to the 99th percentile with a stroke at the 90th."""
    timed = [each for each in report.spending if each.latency]
    top = max((each.latency["p99"] for each in timed), default=0.0)
    bars = "".join(_latency(each, top, number * BAR_ROW) for number, each in enumerate(timed))
    return _rows(f"Seconds of a call, axis from 0 to {top:.2g}", bars, len(timed)) if top else ""


def _rows(label: str, content: str, rows: int) -> str:
    return drawing(label, content, rows * BAR_ROW + 4) if rows else ""


def _bar(row: TableRow, metric: str, top: float, y: int) -> str:
    measure = row.measures[metric]
    scale = (WIDTH - BAR_FIGURES) / top
    low, high = measure.low * scale, measure.high * scale
    style = "bar best" if metric in row.best else "bar"
    return (
        words(0, y + 13, short(row.cell.variant))
        + rect(style, 0, y + 18, measure.value * scale, 11)
        + whisker(y + 23.5, low, high, (low, high))
        + words(WIDTH, y + 28, f"{measure.value:.2f}", "figure")
    )


def _stacked(stage: StageCount, y: int) -> str:
    parts = [words(0, y + 13, f"{stage.split}: {stage.stage}")]
    x = 0.0
    for state in STATES:
        units: int = getattr(stage, state)
        width = (WIDTH - BAR_FIGURES) * units / stage.planned
        if units:
            parts.append(rect(state, x, y + 18, width, 11, f"{units:,} {state}"))
        x += width
    parts.append(words(WIDTH, y + 28, f"{stage.planned:,}", "figure"))
    return "".join(parts)


def _tokens(found: StageSpending, most: int, y: int) -> str:
    scale = (WIDTH - BAR_FIGURES) / most
    prompt, completion = found.prompt_tokens * scale, found.completion_tokens * scale
    told = f"{found.stage}: {found.prompt_tokens:,} + {found.completion_tokens:,} tokens"
    return (
        words(0, y + 13, told)
        + rect("prompt", 0, y + 18, prompt, 11, f"{found.prompt_tokens:,} prompt tokens")
        + rect("completion", prompt, y + 18, completion, 11, f"{found.completion_tokens:,} completion tokens")
        + words(WIDTH, y + 28, f"${found.dollars:,.3f}", "figure")
    )


def _latency(found: StageSpending, top: float, y: int) -> str:
    scale = (WIDTH - BAR_FIGURES) / top
    median, most, last = (found.latency[name] * scale for name in ("p50", "p90", "p99"))
    title = escape(", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.latency.items()))
    return (
        words(0, y + 13, f"{found.stage}: {found.calls:,} calls")
        + rect("bar", 0, y + 18, median, 11, title)
        + whisker(y + 23.5, median, last, (most, last))
        + words(WIDTH, y + 28, f"{found.latency['p50']:.2f} s", "figure")
    )


def _axis_end(highest: float) -> float:
    return next((end for end in (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0) if highest <= end), 100.0)


FOREST_ROW, AXIS = 36, 22
FOREST_FIGURES = 66
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0)


def forests(report: Report) -> Iterator[tuple[str, str]]:
    """(caption, SVG) for each metric."""
    if report.effects:
        for name, heading in report.compared.items():
            yield f"{heading}, difference in percent points", _forest(report, name)


def label(report: Report, found: CellComparison) -> str:
    """`2-shot/star vs 0-shot`: the student only where there are several."""
    pair = found.cell.variant, found.against.variant
    if len(report.students) == 1:
        pair = pair[0].partition("/")[2], pair[1].partition("/")[2]
    return " vs ".join(pair)


def _forest(report: Report, metric: str) -> str:
    reach = _reach(report.effects, metric)
    middle = (WIDTH - FOREST_FIGURES) / 2
    scale = (middle - 4) / reach
    bottom = len(report.effects) * FOREST_ROW + 4
    # The line of no difference leaves out the labels.
    zero = "".join(f"M{middle:g} {place * FOREST_ROW + 17}v17" for place in range(len(report.effects)))
    parts = [f'<path class="zero" d="{zero}"/>']
    for place, found in enumerate(report.effects):
        effect, y = found.differences[metric], place * FOREST_ROW
        low, at, high = (middle + value * scale for value in (effect.low, effect.value, effect.high))
        style = "sure" if effect.significant else "unsure"
        mark = "*" if effect.significant else ""
        parts += [
            words(0, y + 13, short(label(report, found), LABEL)),
            whisker(y + 25, low, high, (low, high), style),
            f'<circle class="{style}" cx="{at:.1f}" cy="{y + 25}" r="4.5"/>',
            words(WIDTH, y + 29, f"{effect.value:+.2f}{mark}", "figure"),
        ]
    ticks = (
        (4, f"{-reach:g}", ""),
        (middle, "0", "middle"),
        (WIDTH - FOREST_FIGURES - 4, f"+{reach:g}", "figure"),
    )
    parts += [words(x, bottom + 14, text, f"tick {style}".strip()) for x, text, style in ticks]
    heading = report.compared[metric]
    title = f"{heading}: differences with 95 % intervals, axis from {-reach:g} to {reach:g} points"
    return drawing(title, "".join(parts), bottom + AXIS)


def _reach(effects: Sequence[CellComparison], metric: str) -> float:
    found = [each.differences[metric] for each in effects]
    most = max(max(abs(each.low), abs(each.high)) for each in found)
    return next((size for size in SIZES if most <= size), 100.0)


HEAD, HEAT_ROW = 24, 34
LABELS = 112
# The ink must stay readable on the darkest field.
PALEST, DARKEST = 0.06, 0.7


def heat_maps(report: Report) -> Iterator[tuple[str, str]]:
    """(caption, SVG): retrieval across, shots and rationale down, of grids that have two cells at least.

    Colour goes from 0 to the highest score, so that scores which are nearly alike look alike.
    """
    groups = dict.fromkeys((row.cell.student, row.cell.augment_test) for row in report.table)
    for student, augmented in groups:
        of_group = [
            row for row in report.table if (row.cell.student, row.cell.augment_test) == (student, augmented)
        ]
        parts = [student] if len(report.students) > 1 else []
        parts += ["augmented requests"] if augmented else []
        for name, heading in report.metrics.items():
            if sum(name in row.measures for row in of_group) > 1:
                yield ", ".join([heading, *parts]), _map(of_group, name, heading)


def _map(table: list[TableRow], metric: str, heading: str) -> str:
    across = list(dict.fromkeys(row.cell.retrieval_word for row in table))
    down = list(dict.fromkeys(cell_label(row.cell) for row in table))
    scores = [row.measures[metric].value for row in table if metric in row.measures]
    highest = max(scores)
    width = (WIDTH - LABELS) / len(across)
    parts = [
        words(LABELS + (place + 0.5) * width, 15, short(_heading(word), max(6, int(width / 7))), "middle")
        for place, word in enumerate(across)
    ]
    parts += [words(0, HEAD + place * HEAT_ROW + 21, short(label, 18)) for place, label in enumerate(down)]
    for row in table:
        measure = row.measures.get(metric)
        x = LABELS + across.index(row.cell.retrieval_word) * width
        y = HEAD + down.index(cell_label(row.cell)) * HEAT_ROW
        share = measure.value / highest if measure and highest else 0.0
        opacity = PALEST + (DARKEST - PALEST) * share if measure else 0.0
        title = f"{row.cell.variant}: " + (f"{measure.value:.2f} %" if measure else "no score")
        field = rect("heat", x + 1, y + 1, width - 2, HEAT_ROW - 2, title)
        parts.append(field.replace("<rect ", f'<rect fill-opacity="{opacity:.2f}" '))
        style = "middle top" if metric in row.best else "middle"
        parts.append(words(x + width / 2, y + 21, f"{measure.value:.1f}" if measure else "-", style))
    return drawing(f"{heading} of each cell in percent", "".join(parts), HEAD + HEAT_ROW * len(down))


def _heading(word: str) -> str:
    return {"no": "no docs", "yes": "docs"}.get(word, word)
