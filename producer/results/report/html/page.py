"""The report as one HTML page: sections with their plots, and single test rows that a script filters."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from importlib import resources

from models.core.answers.checks import FAILURE_MODES
from producer.results.report import sections
from producer.results.report.build import Report
from producer.results.report.html import elements, plots
from producer.results.report.html.cost_plot import cost_plots
from producer.results.report.html.curve_plots import learning_plots, shots_plots
from producer.results.report.html.timeline_plots import timeline_plots
from producer.results.report.samples import CellAnswer, SampleRow
from producer.results.report.statistics import StageFailures
from producer.results.report.step_sections import by_columns, steps, verdicts
from producer.results.report.synthetic_samples import OUTCOMES
from producer.results.report.table_parts import Section, Value, share

VERDICTS = {"right": "right", "wrong": "wrong", "none": "without a verdict"}
MARKS = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("none", "·")}


def _browser(report: Report) -> str:
    """Return a closed element for each test row that was chosen, with every cell's answer."""
    whole = "answers with the first seed of the grid, " if len(report.seeds) > 1 else ""
    note = (
        f"{len(report.samples):,} test rows, chosen evenly; {whole}long texts cut in the middle. "
        "The marks are the cells in the order of the table. Everything: starmill export."
    )
    rows = "\n".join(_sample_row(sample, report) for sample in report.samples)
    nothing = '<p id="none-found" class="soft" hidden>No row is like this.</p>'
    return "\n".join([elements.soft(note), _filters(report), rows, nothing])


def _filters(report: Report) -> str:
    variants = "".join(
        f'<option value="{escape(row.cell.name)}">{escape(row.cell.name)}</option>' for row in report.table
    )
    verdicts = "".join(f'<option value="{value}">{words}</option>' for value, words in VERDICTS.items())
    return (
        '<form id="filter" hidden>'
        f'<label>Cell <select name="cell"><option value="">all</option>{variants}</select></label> '
        f'<label>Answers <select name="verdict"><option value="">all</option>{verdicts}</select></label> '
        '<label>Words <input name="words" type="search"></label> '
        '<output name="count"></output></form>'
    )


def _synthetic_rows(report: Report) -> str:
    """Return a closed element for each row that the run made, by outcome."""
    parts = [elements.soft("Rows of the train split, chosen evenly; long texts are cut in the middle.")]
    for outcome, title in OUTCOMES.items():
        chosen = [sample for sample in report.synthetic if sample.outcome == outcome]
        if chosen:
            parts.append(f"<h3>{title}</h3>")
        for sample in chosen:
            texts = "".join(f"<h4>{escape(name)}</h4>{_pre(text)}" for name, text in sample.texts)
            parts.append(_folded_row(sample.question_id, escape(sample.summary), texts))
    return "\n".join(parts)


def _folded_row(row_id: str, summary: str, content: str) -> str:
    named = f'<span class="id">{escape(row_id)}</span> {summary}'
    return f'<details class="row"><summary>{named}</summary>{content}</details>'


def _sample_row(sample: SampleRow, report: Report) -> str:
    answers = [sample.answers[row.cell.name] for row in report.table if row.cell.name in sample.answers]
    marks = "".join(
        f'<span class="{style}" title="{escape(answer.variant)}">{mark}</span>'
        for answer in answers
        for style, mark in [MARKS[answer.right]]
    )
    return _folded_row(
        sample.question_id,
        f'{escape(sample.request)} <span class="marks">{marks}</span>',
        f"<h3>Reference</h3>{_pre(sample.reference)}{''.join(map(_answer, answers))}",
    )


def _answer(answer: CellAnswer) -> str:
    style, mark = MARKS[answer.right]
    whole = [
        f"<h4>{title}</h4>{_pre(text)}"
        for title, text in (("Answer", answer.text), ("Prompt", answer.prompt))
        if text
    ]
    more = f"<details><summary>whole answer and prompt</summary>{''.join(whole)}</details>" if whole else ""
    return (
        f'<article data-cell="{escape(answer.variant)}" data-verdict="{style}">'
        f'<h3>{escape(answer.variant)} <span class="{style}">{mark} {escape(answer.verdict)}</span></h3>'
        f"{_pre(answer.prediction) if answer.prediction else ''}{more}</article>"
    )


def _pre(text: str) -> str:
    # A line break directly after the tag would be dropped.
    return f"<pre>\n{escape(text)}</pre>"


def render_html(report: Report) -> str:
    title = escape(f"{report.experiment}: {report.run}")
    script = _asset("rows.js")
    contents = {section.title: _content(section, report) for section in sections.report_sections(report)}
    if over_time := elements.figures(timeline_plots(report.timeline)):
        contents["Over time"] = over_time
    if report.synthetic:
        contents["Synthetic rows"] = _synthetic_rows(report)
    if report.samples:
        contents["Single rows"] = _browser(report)
    names: dict[str, str] = {}
    for heading in contents:
        name = re.sub(r"[^a-z0-9]+", "-", heading.lower())
        names[heading] = f"{name}-{len(names)}" if name in names.values() else name
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for heading, name in names.items())
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">',
        f"<title>{title}</title><style>{_asset('style.css')}</style></head>",
        f"<body><header><h1>{title}</h1>",
        f"<p>{escape(sections.headline(report))}</p>",
        "</header>",
        f"<nav>{links}</nav>",
        *(elements.section(names[title], title, content) for title, content in contents.items()),
        f"<script>{script}</script></body></html>",
        "",
    ])  # fmt: skip


def render_fragment(report: Report) -> str:
    """Return ablation and synthetic set as part of another page that has our style."""
    ablation = sections.ablation(report)
    shown = [elements.figures(timeline_plots(report.timeline))]
    if ablation.rows or ablation.remarks:
        shown += [_content(ablation, report, with_plots=False)]
        shown += [elements.folded("Plots of the scores", _ablation_plots(report))]
    for section in (sections.synthetic_set(report), steps(report), verdicts(report), *by_columns(report)):
        if section.rows:
            shown += [f"<h3>{escape(section.title)}</h3>", _content(section, report)]
    return "\n".join(shown)


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Allow no script but ours and load nothing, whatever the texts hold."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _content(section: Section, report: Report, *, with_plots: bool = True) -> str:
    """Return the section's table with its plots; the table of a section in FOLDED opens below them."""
    rows = [map(_value, row) for row in section.rows]
    named = any(section.headings)
    table = elements.table(section.headings, rows, section.text_columns) if named else elements.pairs(rows)
    table = table if section.rows else ""
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in section.remarks)
    style = ' class="soft"' if table else ""
    added = ADDED[section.title](report) if with_plots and section.title in ADDED else ""
    parts = [
        "" if section.title in FOLDED else table,
        elements.soft(section.note) if section.note else "",
        f"<ul{style}>{remarks}</ul>" if remarks else "",
        added,
        elements.folded("As a table", table) if section.title in FOLDED else "",
    ]
    return "\n".join(filter(None, parts))


def _value(value: Value) -> str:
    text = escape(value.text).replace("/", "/<wbr>")  # names of cells break there, not within a word
    bold = f"<strong>{text}</strong>" if value.best else text
    return f"<span>{bold}<small>{escape(value.detail)}</small></span>" if value.detail else bold


def _ablation_plots(report: Report) -> str:
    bars = ((heading, plots.metric_plot(report, name)) for name, heading in report.metrics.items())
    drawn = [*shots_plots(report), *plots.heat_maps(report)]
    return elements.figures(drawn) + elements.folded("Every score with its interval", elements.figures(bars))


def _effect_forests(report: Report) -> str:
    return elements.figures(plots.effect_forests(report))


def _forests(report: Report) -> str:
    return elements.figures(plots.forests(report))


def _failure_examples(report: Report) -> str:
    return "\n".join(elements.folded(f"Examples of {each.stage}", _modes(each)) for each in report.failing)


def _modes(stage: StageFailures) -> str:
    """Return what each mode means, how frequent it was, and texts that show it."""
    parts = []
    for mode, number in stage.modes.items():
        meaning = f"{mode.replace('_', ' ')}: {FAILURE_MODES[mode]}; {share(number, stage.texts)}"
        parts.append(f"<h4>{escape(meaning)}</h4>")
        for example in stage.examples.get(mode, ()):
            name = " ".join([example.question_id, example.variant])
            parts.append(elements.soft(name) + _pre(example.text))
    return "".join(parts)


def _stage_plot(report: Report) -> str:
    colours = elements.keys((state, state) for state in plots.STATES)
    return colours + elements.figures([("Units of each stage", plots.stage_plot(report))])


def _spending_plots(report: Report) -> str:
    colours = elements.keys((name, f"{name} tokens") for name in plots.TOKENS)
    return colours + elements.figures([
        ("Tokens and dollars", plots.token_plot(report)),
        ("Latency: bar to the median, stroke at p90, line to p99", plots.latency_plot(report)),
    ])  # fmt: skip


# What only a page shows of a section, by its title.
ADDED: Mapping[str, Callable[[Report], str]] = {
    "Ablation": _ablation_plots,
    "Effects": _effect_forests,
    "Paired differences": _forests,
    "Failure modes": _failure_examples,
    "Stages": _stage_plot,
    "Steps": _stage_plot,
    "Cost and latency": _spending_plots,
    "Learning curve": lambda report: elements.figures(learning_plots(report)),
    "Cost against score": lambda report: elements.figures(cost_plots(report)),
}
FOLDED = {"Paired differences", "Stages"}
