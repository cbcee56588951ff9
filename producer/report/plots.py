"""Plots as SVG elements, drawn for a phone's width and coloured by the page's style sheet."""

from __future__ import annotations

from html import escape

from producer.report.build import Report, StageCount
from producer.report.tables import METRICS, TableRow

WIDTH = 360
ROW = 34
FIGURES = 62
LABEL = 52
STATES = ("done", "skipped", "failed", "left")


def metric_plot(report: Report, metric: str) -> str:
    """A bar for each cell with a score, its confidence interval as a whisker."""
    scored = [row for row in report.table if metric in row.measures]
    if not scored:
        return ""
    top = _axis_end(max(row.measures[metric].high for row in scored))
    bars = "".join(_bar(row, metric, top, number) for number, row in enumerate(scored))
    name = METRICS[metric]
    return _svg(f"{name} of each cell, axis from 0 to {top:g} percent", bars, len(scored))


def stage_plot(report: Report) -> str:
    """What became of the units of each stage."""
    if not report.stages:
        return ""
    bars = "".join(_stacked(stage, number) for number, stage in enumerate(report.stages))
    return _svg("Units of each stage by state", bars, len(report.stages))


def _svg(label: str, content: str, rows: int) -> str:
    height = rows * ROW + 4
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _bar(row: TableRow, metric: str, top: float, number: int) -> str:
    measure = row.measures[metric]
    scale = (WIDTH - FIGURES) / top
    y = number * ROW
    low, high = measure.low * scale, measure.high * scale
    whisker = f"M{low:.1f} {y + 23.5}H{high:.1f}M{low:.1f} {y + 20}v7M{high:.1f} {y + 20}v7"
    style = "bar best" if metric in row.best else "bar"
    return (
        f'<text x="0" y="{y + 13}">{escape(_short(row.cell.variant))}</text>'
        f'<rect class="{style}" x="0" y="{y + 18}" width="{measure.value * scale:.1f}" height="11"/>'
        f'<path class="whisker" d="{whisker}"/>'
        f'<text class="figure" x="{WIDTH}" y="{y + 28}">{measure.value:.2f}</text>'
    )


def _stacked(stage: StageCount, number: int) -> str:
    y = number * ROW
    parts = [f'<text x="0" y="{y + 13}">{escape(f"{stage.split}: {stage.stage}")}</text>']
    x = 0.0
    for state in STATES:
        units: int = getattr(stage, state)
        width = (WIDTH - FIGURES) * units / stage.planned
        if units:
            parts.append(
                f'<rect class="{state}" x="{x:.1f}" y="{y + 18}" width="{width:.1f}" height="11">'
                f"<title>{units:,} {state}</title></rect>"
            )
        x += width
    parts.append(f'<text class="figure" x="{WIDTH}" y="{y + 28}">{stage.planned:,}</text>')
    return "".join(parts)


def _short(label: str) -> str:
    """What fits the width; the end of a variant tells it apart."""
    return label if len(label) <= LABEL else f"...{label[3 - LABEL :]}"


def _axis_end(highest: float) -> float:
    return next((end for end in (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0) if highest <= end), 100.0)
