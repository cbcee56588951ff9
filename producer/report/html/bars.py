"""Bars of cells and stages: scores with intervals, what became of units, tokens, latency."""

from __future__ import annotations

from html import escape

from producer.report.build import Report, StageCount
from producer.report.html.elements import WIDTH, drawing, rect, short, whisker, words
from producer.report.spending import StageSpending
from producer.report.tables import TableRow

ROW = 34
FIGURES = 62
STATES = ("done", "skipped", "failed", "left")
TOKENS = ("prompt", "completion")


def metric_plot(report: Report, metric: str) -> str:
    """A bar for each cell with a score, its confidence interval as a whisker."""
    scored = [row for row in report.table if metric in row.measures]
    if not scored:
        return ""
    top = _axis_end(max(row.measures[metric].high for row in scored))
    bars = "".join(_bar(row, metric, top, number * ROW) for number, row in enumerate(scored))
    return _rows(f"{report.metrics[metric]} of each cell, axis from 0 to {top:g} percent", bars, len(scored))


def stage_plot(report: Report) -> str:
    """What became of the units of each stage."""
    bars = "".join(_stacked(stage, number * ROW) for number, stage in enumerate(report.stages))
    return _rows("Units of each stage by state", bars, len(report.stages))


def token_plot(report: Report) -> str:
    """Prompt and completion tokens of each stage; the figure is its cost in dollars."""
    most = max((each.prompt_tokens + each.completion_tokens for each in report.spending), default=0)
    bars = "".join(_tokens(each, most, number * ROW) for number, each in enumerate(report.spending))
    return _rows("Tokens of each stage, with dollars", bars, len(report.spending)) if most else ""


def latency_plot(report: Report) -> str:
    """A bar to the median, a line on to the 99th percentile with a stroke at the 90th."""
    timed = [each for each in report.spending if each.latency]
    top = max((each.latency["p99"] for each in timed), default=0.0)
    bars = "".join(_latency(each, top, number * ROW) for number, each in enumerate(timed))
    return _rows(f"Seconds of a call, axis from 0 to {top:.2g}", bars, len(timed)) if top else ""


def _rows(label: str, content: str, rows: int) -> str:
    return drawing(label, content, rows * ROW + 4) if rows else ""


def _bar(row: TableRow, metric: str, top: float, y: int) -> str:
    measure = row.measures[metric]
    scale = (WIDTH - FIGURES) / top
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
        width = (WIDTH - FIGURES) * units / stage.planned
        if units:
            parts.append(rect(state, x, y + 18, width, 11, f"{units:,} {state}"))
        x += width
    parts.append(words(WIDTH, y + 28, f"{stage.planned:,}", "figure"))
    return "".join(parts)


def _tokens(found: StageSpending, most: int, y: int) -> str:
    scale = (WIDTH - FIGURES) / most
    prompt, completion = found.prompt_tokens * scale, found.completion_tokens * scale
    told = f"{found.stage}: {found.prompt_tokens:,} + {found.completion_tokens:,} tokens"
    return (
        words(0, y + 13, told)
        + rect("prompt", 0, y + 18, prompt, 11, f"{found.prompt_tokens:,} prompt tokens")
        + rect("completion", prompt, y + 18, completion, 11, f"{found.completion_tokens:,} completion tokens")
        + words(WIDTH, y + 28, f"${found.dollars:,.3f}", "figure")
    )


def _latency(found: StageSpending, top: float, y: int) -> str:
    scale = (WIDTH - FIGURES) / top
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
