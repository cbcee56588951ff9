"""The plots of the page: bars of cells and stages, forest plots of differences, heat maps of the grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from producer.progress.wait_lines import cost
from producer.results.differences import Difference, points
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report, StageCount
from producer.results.report.contrast_sections import MAX_SHOWN
from producer.results.report.effects import CellComparison
from producer.results.report.html.elements import WIDTH, axis_end, drawing, rect, short, whisker, words
from producer.results.report.measures import StageSpending
from producer.results.report.sections import cell_label

BAR_ROW = 34
BAR_FIGURES = 62
STATES = ("done", "skipped", "failed", "left")
TOKENS = ("prompt", "completion")


def metric_plot(report: Report, metric: str) -> str:
    """Draw a bar for each cell with a score, its confidence interval as a whisker."""
    scored = [row for row in report.table if metric in row.measures]
    if not scored:
        return ""
    top = axis_end(max(row.measures[metric].high for row in scored))
    bars = "".join(_bar(row, metric, top, number * BAR_ROW) for number, row in enumerate(scored))
    return _rows(f"{report.metrics[metric]} of each cell, axis from 0 to {top:g} percent", bars, len(scored))


def stage_plot(report: Report) -> str:
    bars = "".join(_stacked(stage, number * BAR_ROW) for number, stage in enumerate(report.stages))
    return _rows("Units of each stage by state", bars, len(report.stages))


def token_plot(report: Report) -> str:
    """Draw prompt and completion tokens of each stage; the figure is its cost in dollars."""
    largest = max((each.prompt_tokens + each.completion_tokens for each in report.spending), default=0)
    if not largest:
        return ""
    bars = "".join(
        _tokens(each, largest, number * BAR_ROW, report.unpriced)
        for number, each in enumerate(report.spending)
    )
    return _rows("Tokens of each stage, with dollars", bars, len(report.spending))


def latency_plot(report: Report) -> str:
    """Draw a bar to the median, and a line to the 99th percentile with a stroke at the 90th."""
    timed = [each for each in report.spending if each.latency]
    top = max((each.latency["p99"] for each in timed), default=0.0)
    if not top:
        return ""
    bars = "".join(_latency(each, top, number * BAR_ROW) for number, each in enumerate(timed))
    return _rows(f"Seconds of a call, axis from 0 to {top:.2g}", bars, len(timed))


def _rows(label: str, content: str, rows: int) -> str:
    return drawing(label, content, rows * BAR_ROW + 4) if rows else ""


def _bar(row: TableRow, metric: str, top: float, y: int) -> str:
    measure = row.measures[metric]
    scale = (WIDTH - BAR_FIGURES) / top
    low, high = measure.low * scale, measure.high * scale
    style = "bar best" if metric in row.best else "bar"
    return (
        words(0, y + 13, short(row.cell.name))
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


def _tokens(spent: StageSpending, largest: int, y: int, unpriced: tuple[str, ...]) -> str:
    scale = (WIDTH - BAR_FIGURES) / largest
    prompt, completion = spent.prompt_tokens * scale, spent.completion_tokens * scale
    return (
        words(0, y + 13, f"{spent.stage}: {spent.prompt_tokens:,} + {spent.completion_tokens:,} tokens")
        + rect("prompt", 0, y + 18, prompt, 11, f"{spent.prompt_tokens:,} prompt tokens")
        + rect("completion", prompt, y + 18, completion, 11, f"{spent.completion_tokens:,} completion tokens")
        + words(WIDTH, y + 28, cost(round(spent.dollars * 1e9), unpriced), "figure")
    )


def _latency(spent: StageSpending, top: float, y: int) -> str:
    scale = (WIDTH - BAR_FIGURES) / top
    p50, p90, p99 = (spent.latency[name] * scale for name in ("p50", "p90", "p99"))
    title = escape(", ".join(f"{name} {seconds:.2f} s" for name, seconds in spent.latency.items()))
    return (
        words(0, y + 13, f"{spent.stage}: {spent.calls:,} calls")
        + rect("bar", 0, y + 18, p50, 11, title)
        + whisker(y + 23.5, p50, p99, (p90, p99))
        + words(WIDTH, y + 28, f"{spent.latency['p50']:.2f} s", "figure")
    )


FOREST_ROW, AXIS = 36, 22
FOREST_FIGURES = 66


Labelled = Sequence[tuple[str, Difference]]


def effect_forests(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) of the effects of axes, for each metric."""
    main = [each for each in report.axis_effects if not each.contrast.is_interaction][:MAX_SHOWN]
    for name, heading in report.compared.items() if main else ():
        differences = [(each.contrast.name, each.comparison.differences[name]) for each in main]
        yield f"{heading}, effect in percent points", _forest(differences, heading)


def forests(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) of the differences of cells, for each metric."""
    shown = report.effects[:MAX_SHOWN]
    for name, heading in report.compared.items() if shown else ():
        differences = [(_pair_label(report, each), each.differences[name]) for each in shown]
        yield f"{heading}, difference in percent points", _forest(differences, heading)


def _pair_label(report: Report, effect: CellComparison) -> str:
    """Return `2-shot/star vs 0-shot`, with the student if there are several."""
    pair = effect.cell.name, effect.against.name
    if len(report.students) == 1:
        pair = pair[0].partition("/")[2], pair[1].partition("/")[2]
    return " vs ".join(pair)


def _forest(differences: Labelled, heading: str) -> str:
    reach = axis_end(max(max(abs(each.low), abs(each.high)) for _, each in differences))
    middle = (WIDTH - FOREST_FIGURES) / 2
    scale = (middle - 4) / reach
    bottom = len(differences) * FOREST_ROW + 4
    # The line of no difference has gaps for the labels.
    zero = "".join(f"M{middle:g} {index * FOREST_ROW + 17}v17" for index in range(len(differences)))
    parts = [f'<path class="zero" d="{zero}"/>']
    for index, (label, difference) in enumerate(differences):
        y = index * FOREST_ROW
        values = (difference.low, difference.value, difference.high)
        low, center, high = (middle + value * scale for value in values)
        style = "sure" if difference.significant else "unsure"
        parts += [
            words(0, y + 13, short(label)),
            whisker(y + 25, low, high, (low, high), style),
            f'<circle class="{style}" cx="{center:.1f}" cy="{y + 25}" r="4.5"/>',
            words(WIDTH, y + 29, points(difference), "figure"),
        ]
    ticks = (
        (4, f"{-reach:g}", ""),
        (middle, "0", "middle"),
        (WIDTH - FOREST_FIGURES - 4, f"+{reach:g}", "figure"),
    )
    parts += [words(x, bottom + 14, text, f"tick {style}".strip()) for x, text, style in ticks]
    title = f"{heading}: differences with 95 % intervals, axis from {-reach:g} to {reach:g} points"
    return drawing(title, "".join(parts), bottom + AXIS)


HEAD, HEAT_ROW, LABEL_ROW = 24, 34, 18
LABELS, LABEL_LENGTH = 112, 18
# The ink must stay readable on the darkest field.
PALEST, DARKEST = 0.06, 0.7


def heat_maps(report: Report) -> Iterator[tuple[str, str]]:
    """Yield (caption, SVG) by student, wording and metric: retrieval across, shots and rationale down.

    A heat map has two scores at least. Colour goes from 0 to the highest score, so that similar scores look
    similar.
    """
    groups = dict.fromkeys((row.cell.student, row.cell.augment_test) for row in report.table)
    for student, augmented in groups:
        group = [
            row for row in report.table if (row.cell.student, row.cell.augment_test) == (student, augmented)
        ]
        parts = [student] if len(report.students) > 1 else []
        parts += ["augmented requests"] if augmented else []
        for name, heading in report.metrics.items():
            if sum(name in row.measures for row in group) > 1:
                yield ", ".join([heading, *parts]), _map(group, name, heading)


def _map(table: list[TableRow], metric: str, heading: str) -> str:
    across = list(dict.fromkeys(row.cell.retrieval_word for row in table))
    down = list(dict.fromkeys(cell_label(row.cell) for row in table))
    scores = [row.measures[metric].value for row in table if metric in row.measures]
    highest = max(scores)
    # Cells of many axes have long names, of which the ends are alike: they stand above their fields.
    above = max(map(len, down)) > LABEL_LENGTH
    left, lead, baseline = (0, LABEL_ROW, HEAD + 13) if above else (LABELS, 0, HEAD + 21)
    width, step = (WIDTH - left) / len(across), HEAT_ROW + lead
    parts = [
        words(left + (index + 0.5) * width, 15, short(_heading(word), max(6, int(width / 7))), "middle")
        for index, word in enumerate(across)
    ]
    parts += [words(0, baseline + index * step, short(label)) for index, label in enumerate(down)]
    for row in table:
        measure = row.measures.get(metric)
        x = left + across.index(row.cell.retrieval_word) * width
        y = HEAD + down.index(cell_label(row.cell)) * step + lead
        share = measure.value / highest if measure and highest else 0.0
        opacity = PALEST + (DARKEST - PALEST) * share if measure else 0.0
        title = f"{row.cell.name}: " + (f"{measure.value:.2f} %" if measure else "no score")
        field = rect("heat", x + 1, y + 1, width - 2, HEAT_ROW - 2, title)
        parts.append(field.replace("<rect ", f'<rect fill-opacity="{opacity:.2f}" '))
        style = "middle top" if metric in row.best else "middle"
        parts.append(words(x + width / 2, y + 21, f"{measure.value:.1f}" if measure else "-", style))
    return drawing(f"{heading} of each cell in percent", "".join(parts), HEAD + step * len(down))


def _heading(word: str) -> str:
    return {"no": "no docs", "yes": "docs"}.get(word, word)
