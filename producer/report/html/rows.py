"""Single test rows to browse: closed until opened, filtered by a small script where scripts run."""

from __future__ import annotations

from html import escape

from producer.report.build import Report
from producer.report.html.elements import soft
from producer.report.samples import Answer, Sample

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
    rows = "\n".join(_row(sample, report) for sample in report.samples)
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


def _row(sample: Sample, report: Report) -> str:
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


def _answer(answer: Answer) -> str:
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
