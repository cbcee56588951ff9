"""The HTML report: one page that loads nothing, and what its plots draw."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.formats import RENDERERS
from producer.results.report.measures import QUANTILES, StageSpending
from producer.results.report.samples import CellAnswer, SampleRow
from producer.results.report.synthetic_samples import SyntheticSample
from tests.support.reports import MEASURES, PLAIN, SCRIPT, STAR, report

VOID = {"meta", "rect", "path", "circle", "br", "input", "wbr"}


class Page(HTMLParser):
    """Fails where an element is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_synthetic_rows_stand_by_their_outcome() -> None:
    samples = [
        SyntheticSample(outcome, f"q-{outcome}", f"sort {SCRIPT}", (("First pass: wrong", SCRIPT),))
        for outcome in ("rejected", "accepted", "rejected")
    ]
    text = RENDERERS["html"](replace(report(), synthetic=tuple(samples)))
    Page(text)
    [section] = re.findall(r'<section id="synthetic-rows">.*?</section>', text, re.DOTALL)
    ids = re.findall(r'<h3>(.*?)</h3>|class="id">(.*?)<', section)
    assert [heading or row for heading, row in ids] == [
        "Accepted", "q-accepted", "Rejected", "q-rejected", "q-rejected",
    ]  # fmt: skip
    assert SCRIPT not in section


def test_scores_stand_against_shots_from_the_cell_without_any() -> None:
    measures = [{"exact_match": Measure(value, value - 1, value + 1)} for value in (5.0, 10.0, 20.0)]
    cells = PLAIN, Cell("pupil", 2, "", "none"), Cell("pupil", 4, "", "none")
    table = tuple(TableRow(cell, 9, 9, each) for cell, each in zip(cells, measures, strict=True))
    text = RENDERERS["html"](replace(report(), table=table))
    [points] = re.findall(r'<polyline [^>]*points="([^"]*)"', text)
    x, y = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert x[1] - x[0] == x[2] - x[1] > 0
    assert y[1] - y[2] == pytest.approx(2 * (y[0] - y[1]), abs=0.2)
    assert "Exact match against shots" in text
    one_size = RENDERERS["html"](replace(report(), table=table[:1]))
    assert "against shots" not in one_size


def test_html_is_one_page_that_runs_and_loads_nothing() -> None:
    text = RENDERERS["html"](report())
    page = Page(text)
    # Its own script alone, which no text can change: the policy names its hash.
    assert page.seen.count("script") == 1
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} == set(re.findall(r'<section id="([\w-]+)"', text))
    assert "url(" not in text
    assert "@import" not in text
    assert "alert(1)" in text
    assert 'name="viewport"' in text
    assert "<strong>12.35</strong>" in text


def drawings(of: Report) -> dict[str, ElementTree.Element]:
    """The page's plots by the start of their labels."""
    plots = re.findall(r"<svg.*?</svg>", RENDERERS["html"](of), re.DOTALL)
    trees = [ElementTree.fromstring(plot) for plot in plots]
    return {tree.get("aria-label", ""): tree for tree in trees}


def test_html_draws_each_metric_and_the_stages() -> None:
    svgs = drawings(report())
    bleu, stages = (
        svgs["BLEU-4 of each cell, axis from 0 to 20 percent"],
        svgs["Units of each stage by state"],
    )
    bars = bleu.findall("rect")
    assert [bar.get("class") for bar in bars] == ["bar best", "bar"]
    # The longest bar's interval ends within the axis: 298 wide for 20 percent.
    assert float(bars[0].get("width", 0)) == pytest.approx(12.345 * 298 / 20, abs=0.1)
    widths = [float(bar.get("width", 0)) for bar in stages.findall("rect")[3:]]
    assert [width / 298 for width in widths] == pytest.approx([3 / 12, 2 / 12, 1 / 12, 6 / 12], abs=0.001)


def test_html_draws_differences_about_the_line_of_none() -> None:
    svgs = drawings(report())
    forest = svgs["BLEU-4: differences with 95 % intervals, axis from -5 to 5 points"]
    [dot] = forest.findall("circle")
    # 147 is the middle, 143 wide for 5 points.
    assert (float(dot.get("cx", 0)), dot.get("class")) == (
        pytest.approx(147 + 2.5 * 143 / 5, abs=0.1),
        "sure",
    )
    assert "+2.50*" in [text.text for text in forest.findall("text")]
    worse = svgs["Exact match: differences with 95 % intervals, axis from -5 to 5 points"].find("circle")
    assert worse is not None
    assert (float(worse.get("cx", 0)) < 147, worse.get("class")) == (True, "unsure")


def test_html_colours_the_grid_by_score() -> None:
    other = replace(report().table[1], cell=replace(STAR, augment_test=False), n=4, measures=MEASURES)
    best = {**MEASURES, "bleu4": Measure(30.0, 20.0, 40.0)}
    pupil = (report().table[0], other, replace(other, cell=Cell("pupil", 2, "", "star"), measures=best))
    fields = drawings(replace(report(), table=pupil))["BLEU-4 of each cell in percent"].findall("rect")
    assert [field.get("fill-opacity") for field in fields] == ["0.32", "0.32", "0.70"]
    assert [field.get("x") for field in fields] == ["113.0", "237.0", "113.0"]


def test_html_draws_the_spending() -> None:
    svgs = drawings(report())
    widths = [
        float(bar.get("width", 0)) for bar in svgs["Tokens of each stage, with dollars"].findall("rect")
    ]
    assert widths == pytest.approx([298 * tokens / 1050 for tokens in (1000, 50, 234, 6)], abs=0.1)
    assert len(svgs["Seconds of a call, axis from 0 to 2"].findall("rect")) == 1


def test_html_draws_no_tokens_where_none_were_counted() -> None:
    """Answers from a file of predictions have no tokens and no seconds."""
    free = StageSpending("answer", 3, 0, 0, 0, 0.0, dict.fromkeys(QUANTILES, 0.0))
    page = RENDERERS["html"](replace(report(), spending=(free,)))
    assert "Tokens of each stage" not in page
    assert "Seconds of a call" not in page


def test_html_shows_single_rows_as_they_are() -> None:
    answer = CellAnswer(PLAIN.name, "ask <b>", "\n x & y", SCRIPT, right=False, verdict="not the reference")
    other = CellAnswer("rival/0-shot", verdict="failed: null")
    sample = SampleRow(3, "q<3>", "sort <it>", "a < b", {each.variant: each for each in (answer, other)})
    text = RENDERERS["html"](replace(report(), samples=(sample,)))
    assert Page(text).seen.count("article") == 2
    for escaped in (
        "q&lt;3&gt;",
        "<pre>\na &lt; b</pre>",
        "<pre>\n\n x &amp; y</pre>",
        "<pre>\nask &lt;b&gt;</pre>",
    ):
        assert escaped in text
    assert 'data-cell="pupil/0-shot" data-verdict="wrong"' in text
    assert 'data-cell="rival/0-shot" data-verdict="none"' in text
    assert "single-rows" not in RENDERERS["html"](report()).partition("<nav>")[2].partition("</nav>")[0]


def test_html_shortens_labels_that_are_wider_than_a_phone() -> None:
    cell = Cell("x" * 60, 2, "retrieval", "star")
    shown = RENDERERS["html"](replace(report(), table=(replace(report().table[0], cell=cell),)))
    labels = re.findall(r'<text x="0"[^>]*>([^<]*)</text>', shown)
    assert f"...{'x' * 27}/2-shot/retrieval/star" in labels
    assert max(map(len, labels)) == 52
