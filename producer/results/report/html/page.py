"""Single test rows to browse: closed until opened, filtered by a small script where scripts run.

The page, section by section.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib import resources

from models.core.answers.checks import FAILURE_MODES
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import INTERVALS, Report
from producer.results.report.html.elements import escaped, figures, folded, keys, pairs, section, soft, table
from producer.results.report.html.plots import (
    STATES,
    TOKENS,
    forests,
    heat_maps,
    latency_plot,
    metric_plot,
    stage_plot,
    token_plot,
)
from producer.results.report.samples import CellAnswer, SampleRow
from producer.results.report.sections import (
    EFFECTS_NOTE,
    FAILING,
    FAILING_NOTE,
    NOTHING,
    QUALITY,
    QUALITY_NOTE,
    SPENDING,
    SPENDING_NOTE,
    answers,
    axes,
    detail,
    effect_headings,
    effect_lines,
    failing_lines,
    place,
    quality_lines,
    spending_lines,
    statistic_lines,
)
from producer.results.report.statistics import StageFailures

VERDICTS = {"right": "right", "wrong": "wrong", "none": "without a verdict"}
MARKS = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("none", "·")}


def browser(report: Report) -> str:
    """A closed element for each test row that was chosen, with what every cell answered."""
    if not report.samples:
        return ""
    whole = "answers with the first seed of the grid, " if len(report.seeds) > 1 else ""
    note = (
        f"{len(report.samples):,} test rows, chosen evenly; {whole}long texts cut in the middle. "
        "The marks are the cells in the order of the table. Everything: starmill export."
    )
    rows = "\n".join(_sample_row(sample, report) for sample in report.samples)
    nothing = '<p id="none-found" class="soft" hidden>No row is like this.</p>'
    return "\n".join([soft(note), _filters(report), rows, nothing])


def _filters(report: Report) -> str:
    variants = "".join(
        f'<option value="{escape(row.cell.variant)}">{escape(row.cell.variant)}</option>'
        for row in report.table
    )
    verdicts = "".join(f'<option value="{value}">{words}</option>' for value, words in VERDICTS.items())
    return (
        '<form id="filter" hidden>'
        f'<label>Cell <select name="cell"><option value="">all</option>{variants}</select></label> '
        f'<label>Answers <select name="verdict"><option value="">all</option>{verdicts}</select></label> '
        '<label>Words <input name="words" type="search"></label> '
        '<output name="count"></output></form>'
    )


def _sample_row(sample: SampleRow, report: Report) -> str:
    answers = [sample.answers[row.cell.variant] for row in report.table if row.cell.variant in sample.answers]
    marks = "".join(
        f'<span class="{style}" title="{escape(answer.variant)}">{mark}</span>'
        for answer in answers
        for style, mark in [MARKS[answer.right]]
    )
    return (
        f'<details class="row"><summary><span class="id">{escape(sample.question_id)}</span> '
        f'{escape(sample.request)} <span class="marks">{marks}</span></summary>'
        f"<h3>Reference</h3>{_pre(sample.reference)}{''.join(map(_answer, answers))}</details>"
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
    models = ", ".join(f"{name} ({model})" for name, model in report.students.items())
    script = _asset("rows.js")
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">',
        f"<title>{title}</title><style>{_asset('style.css')}</style></head>",
        f"<body><header><h1>{title}</h1>",
        f"<p>{escape(report.state)}. Teacher: {escape(report.teacher)}. Students: {escape(models)}.</p>",
        "</header>",
        *_sections({
            "Ablation": _ablation(report),
            "Paired differences": _effects(report),
            "Retrieval": _retrieval(report),
            "Failure modes": _failing(report),
            "Synthetic set": pairs(statistic_lines(report)),
            "Stages": _stages(report),
            "Cost and latency": _spending(report),
            "Single rows": browser(report),
        }),
        f"<script>{script}</script></body></html>",
        "",
    ])  # fmt: skip


def tables(report: Report) -> str:
    """Ablation and synthetic set as part of another page that has our style."""
    return f"{_ablation(report)}\n<h3>Synthetic set</h3>\n{pairs(statistic_lines(report))}"


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing is loaded, and no script but ours is run, whatever stands in the texts."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _sections(parts: dict[str, str]) -> list[str]:
    """Links to the sections that have something to show, and these."""
    shown = {title.lower().replace(" ", "-"): (title, text) for title, text in parts.items() if text}
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in shown.items())
    return [f"<nav>{links}</nav>", *(section(name, title, text) for name, (title, text) in shown.items())]


def _ablation(report: Report) -> str:
    headings = axes(report)
    lines = [_row(report, row) for row in report.table]
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    bars = figures((heading, metric_plot(report, name)) for name, heading in report.metrics.items())
    return "\n".join([
        table([*headings, "n", *report.metrics.values()], lines, range(len(headings))),
        soft(f"{INTERVALS} The best of each student is bold."),
        f'<ul class="soft">{notes}</ul>' if notes else "",
        figures(heat_maps(report)),
        folded("Every score with its interval", bars),
    ])  # fmt: skip


def _row(report: Report, row: TableRow) -> list[str]:
    scores = []
    for name in report.metrics:
        measure = row.measures.get(name)
        if measure is None:
            scores.append(NOTHING)
            continue
        value = f"{measure.value:.2f}"
        bold = f"<strong>{value}</strong>" if name in row.best else value
        scores.append(f"<span>{bold}<small>{detail(measure)}</small></span>")
    return [*map(escape, place(report, row)), escape(answers(row)), *scores]


def _effects(report: Report) -> str:
    if not report.effects:
        return ""
    values = table(effect_headings(report), escaped(effect_lines(report)), (0, 1))
    return soft(EFFECTS_NOTE) + figures(forests(report)) + folded("As a table", values)


def _retrieval(report: Report) -> str:
    return table(QUALITY, escaped(quality_lines(report))) + soft(QUALITY_NOTE) if report.retrieval else ""


def _failing(report: Report) -> str:
    if not report.failing:
        return ""
    examples = "\n".join(folded(f"Examples of {each.stage}", _modes(each)) for each in report.failing)
    return table(FAILING, escaped(failing_lines(report)), (0, 3, 4)) + soft(FAILING_NOTE) + examples


def _modes(found: StageFailures) -> str:
    """What each mode means, how often it was, and texts that show it."""
    parts = []
    for mode, number in found.modes.items():
        texts = "".join(
            f'<p class="soft">{escape(" ".join([example.question_id, example.variant]))}</p>'
            f"<pre>\n{escape(example.text)}</pre>"
            for example in found.examples.get(mode, ())
        )
        share = f"{number:,} of {found.texts:,} ({100 * number / found.texts:.1f} %)"
        told = f"{mode.replace('_', ' ')}: {FAILURE_MODES[mode]}"
        parts.append(f"<h4>{escape(told)}; {share}</h4>{texts}")
    return "".join(parts)


def _stages(report: Report) -> str:
    if not report.stages:
        return ""
    return keys((state, state) for state in STATES) + figures([("Units of each stage", stage_plot(report))])


def _spending(report: Report) -> str:
    if not report.spending:
        return ""
    plots = figures([
        ("Tokens and dollars", token_plot(report)),
        ("Latency: bar to the median, stroke at p90, line to p99", latency_plot(report)),
    ])  # fmt: skip
    bought = table(SPENDING, escaped(spending_lines(report))) + soft(SPENDING_NOTE)
    return bought + keys((name, f"{name} tokens") for name in TOKENS) + plots
