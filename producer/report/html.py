"""The report as one HTML page: no script, nothing to load, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from producer.report.build import Report
from producer.report.layout import (
    EFFECT,
    EFFECTS_NOTE,
    NOTHING,
    QUALITY,
    QUALITY_NOTE,
    answers,
    axes,
    detail,
    effect_lines,
    place,
    quality_lines,
    statistic_lines,
)
from producer.report.notes import INTERVALS
from producer.report.plots import STATES, metric_plot, stage_plot
from producer.report.tables import METRICS, TableRow

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #667; --line: #d5d8dd; --paper: #fff;
  --bar: #8fb4d9; --best: #2f6fb0; --done: #5a9c6e; --skipped: #b9c2cc; --failed: #c9504a; --left: #e6d9a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #3a4048;
  --paper: #16191d; --bar: #41648a; --best: #6fa8e0; --left: #6b6233; --skipped: #59626c; } }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p, li { max-width: 44rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td:last-child { white-space: normal; }
th.number, td.number { text-align: right; white-space: nowrap; }
small { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; max-width: 32rem; height: auto; font-size: 12px; fill: var(--ink); }
.figure { text-anchor: end; } .bar { fill: var(--bar); } .best { fill: var(--best); }
.whisker { stroke: var(--ink); fill: none; }
.done { fill: var(--done); } .skipped { fill: var(--skipped); } .failed { fill: var(--failed); }
.left { fill: var(--left); }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .8rem; }
""" + "".join(f".key.{state} {{ background: var(--{state}); }}\n" for state in STATES)


def render(report: Report) -> str:
    title = escape(f"{report.experiment}: {report.run}")
    models = ", ".join(f"{name} ({model})" for name, model in report.students.items())
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style></head>",
        f"<body><h1>{title}</h1>",
        f"<p>{escape(report.state)}. Teacher: {escape(report.teacher)}. Students: {escape(models)}.</p>",
        *_ablation(report),
        *_effects(report),
        *_retrieval(report),
        "<h2>Synthetic set</h2>",
        _table(None, [[_cell(what), _cell(number)] for what, number in statistic_lines(report)]),
        *_stages(report),
        "</body></html>",
        "",
    ])  # fmt: skip


def _ablation(report: Report) -> list[str]:
    heads = [f"<th>{escape(axis)}</th>" for axis in axes(report)]
    heads += [f'<th class="number">{escape(name)}</th>' for name in ("n", *report.metrics.values())]
    plots = {name: plot for name in METRICS if (plot := metric_plot(report, name))}
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return [
        "<h2>Ablation</h2>",
        _table(heads, [_row(report, row) for row in report.table]),
        f'<p class="soft">{escape(INTERVALS)} The best of each student is bold.</p>',
        f"<ul>{notes}</ul>" if notes else "",
        '<div class="plots">',
        *(f"<figure><figcaption>{escape(METRICS[name])}</figcaption>{plot}</figure>"
          for name, plot in plots.items()),
        "</div>",
    ]  # fmt: skip


def _effects(report: Report) -> list[str]:
    if not report.effects:
        return []
    heads = [f"<th>{escape(heading)}</th>" for heading in EFFECT[:2]]
    heads += [f'<th class="number">{escape(heading)}</th>' for heading in EFFECT[2:]]
    lines = [
        [*map(_cell, words[:2]), *(_cell(word, number=True) for word in words[2:])]
        for words in effect_lines(report)
    ]
    return [
        "<h2>Paired differences</h2>",
        _table(heads, lines),
        f'<p class="soft">{escape(EFFECTS_NOTE)}</p>',
    ]


def _retrieval(report: Report) -> list[str]:
    if not report.retrieval:
        return []
    heads = [f'<th class="number">{escape(heading)}</th>' for heading in QUALITY[1:]]
    lines = [
        [_cell(words[0]), *(_cell(word, number=True) for word in words[1:])]
        for words in quality_lines(report)
    ]
    table = _table([f"<th>{QUALITY[0]}</th>", *heads], lines)
    return ["<h2>Retrieval</h2>", table, f'<p class="soft">{escape(QUALITY_NOTE)}</p>']


def _stages(report: Report) -> list[str]:
    plot = stage_plot(report)
    if not plot:
        return []
    keys = "".join(f'<span class="key {state}"></span>{state}' for state in STATES)
    return ["<h2>Units of each stage</h2>", f'<p class="soft">{keys}</p>', plot]


def _row(report: Report, row: TableRow) -> list[str]:
    scores = []
    for name in report.metrics:
        measure = row.measures.get(name)
        if measure is None:
            scores.append(_cell(NOTHING, number=True))
            continue
        value = f"{measure.value:.2f}"
        shown = f"<strong>{value}</strong>" if name in row.best else value
        scores.append(f'<td class="number">{shown} <small>{detail(measure)}</small></td>')
    return [*map(_cell, place(report, row)), _cell(answers(row), number=True), *scores]


def _cell(text: str, *, number: bool = False) -> str:
    return f'<td class="number">{escape(text)}</td>' if number else f"<td>{escape(text)}</td>"


def _table(heads: list[str] | None, lines: Iterable[list[str]]) -> str:
    head = f"<thead><tr>{''.join(heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(line)}</tr>\n" for line in lines)
    return f'<div class="scroll"><table>{head}<tbody>\n{body}</tbody></table></div>'
