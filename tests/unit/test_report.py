"""Every format of one report, on names and numbers that are hard to show."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from models.ablation import Cell
from producer.report import RENDERERS, Report, StageCount
from producer.report.effects import EFFECTS, Comparison, Difference
from producer.report.failing import Example, StageFailures, excerpt
from producer.report.latex import escape as latex
from producer.report.markdown import escape as markdown
from producer.report.retrieval import Quality
from producer.report.samples import Answer, Sample, evenly, shown
from producer.report.spending import QUANTILES, StageSpending
from producer.report.statistics import Pass, Statistics
from producer.report.tables import METRICS, Measure, TableRow
from producer.report.terminal import ablation_table, retrieval_table, statistics_table

SCRIPT = "</title></script><script>alert(1)</script>"
MEASURES = {name: Measure(12.345 + place, 9.0, 16.0 + place) for place, name in enumerate(METRICS)}
VOID = {"meta", "rect", "path", "circle", "br", "input"}


PLAIN, STAR = Cell("pupil", 0, "", "none"), Cell("pupil", 2, "retrieval", "star", augment_test=True)
DIFFERENCES = {
    name: Difference(2.5 - 2 * place, -0.5, 4.0, 0.01 + place / 100, 0.02 + place / 10)
    for place, name in enumerate(EFFECTS)
}


def report() -> Report:
    statistics = Statistics(
        examples=4, augmented=4, retrieved=4, rationales=3, first_pass_correct=1, passes=(Pass(1, 2, 1),),
        accepted=2, still_wrong=1, hint_leaks=1, wrong_form={"no_answer": 1}, failed={"refusal": 1},
        rejected={}, words_per_augmentation=None, words_per_rationale=7.25, calls=9, prompt_tokens=1234,
        cached_tokens=0, completion_tokens=56, cost_usd=0.0123,
    )  # fmt: skip
    return Report(
        run="small-1",
        experiment="small",
        state="running",
        teacher=f"a_b|c{{}}\\$&%#^~ 模型 é {SCRIPT}",
        students={"pupil": "p/q_r", "rival": "x"},
        seeds=(0,),
        statistics=statistics,
        table=(
            TableRow(PLAIN, 3, 4, MEASURES, best=("bleu4",)),
            TableRow(STAR, 0, 4, {}),
            TableRow(Cell("rival", 0, "", "none"), 1234, 1234, MEASURES),
        ),
        stages=(StageCount("train", "augment", 4, 3, 0, 1), StageCount("test", "judge", 12, 3, 2, 1)),
        notes=(f"[note] of 100 % {SCRIPT}",),
        retrieval=(
            Quality("yes", False, rows=3, shown=6, right=2, missed=1, tokens=40.25),
            Quality("filler", False, rows=3, shown=0, right=0, missed=3, tokens=0.0),
        ),
        failing=(
            StageFailures(
                "rationale",
                9,
                2,
                {"no_code": 2, "truncation": 1},
                {"null": 3},
                {"no_code": (Example("q<1>", "", f"a|b {SCRIPT}"),)},
            ),
            StageFailures("answer", 8, 0, {}, {}, {}),
        ),
        spending=(
            StageSpending(
                "augment", 4, 1000, 0, 50, 0.25, dict(zip(QUANTILES, (0.5, 1, 2, 30), strict=True))
            ),
            StageSpending("answer", 5, 234, 0, 6, 0.0, {}),
        ),
        effects=(Comparison(STAR, PLAIN, baseline=True, retrieval=False, n=3, differences=DIFFERENCES),),
    )


def empty() -> Report:
    """Of a run without test examples, in which nothing happened."""
    full = report()
    nothing = replace(full.statistics, examples=0, augmented=0, retrieved=0, rationales=0, passes=())
    table = tuple(replace(row, n=0, planned=0, measures={}, best=()) for row in full.table)
    return replace(
        full,
        statistics=nothing,
        table=table,
        stages=(),
        notes=(),
        students={"pupil": "x"},
        retrieval=(),
        effects=(),
        failing=(),
        spending=(),
    )


@pytest.mark.parametrize("name", RENDERERS)
def test_every_format_shows_an_empty_run(name: str) -> None:
    shown = RENDERERS[name](empty())
    assert "small-1" in shown
    assert shown.endswith("\n")
    assert "nan" not in shown.lower()


def test_markdown_keeps_its_columns() -> None:
    lines = [line for line in RENDERERS["markdown"](report()).splitlines() if line.startswith("| pupil |")]
    scored, unscored = (re.split(r"(?<!\\)\|", line)[1:-1] for line in lines)
    assert [cell.strip() for cell in scored] == [
        "pupil", "0", "no", "none", "as written", "3 of 4",
        "**12.35** [9.0, 16.0]", "13.35 [9.0, 17.0]", "14.35 [9.0, 18.0]", "15.35 [9.0, 19.0]",
    ]  # fmt: skip
    assert [cell.strip() for cell in unscored[:6]] == ["pupil", "2", "yes", "STaR", "augmented", "0 of 4"]
    assert [cell.strip() for cell in unscored[6:]] == ["-"] * 4


def test_markdown_shows_special_characters_as_they_are() -> None:
    assert markdown("a|b *c*\n<i> [d](e) `f`") == r"a\|b \*c\* \<i\> \[d\](e) \`f\`"


def test_markdown_and_latex_show_paired_differences() -> None:
    lines = RENDERERS["markdown"](report()).splitlines()
    assert (
        r"| pupil/2-shot/retrieval/star/augmented | pupil/0-shot (baseline) | 3 "
        + (r"| +2.50\* \[-0.5, 4.0\] p 0.020 | +0.50 \[-0.5, 4.0\] p 0.120 | -1.50 \[-0.5, 4.0\] p 0.220 |")
        in lines
    )
    assert "+2.50* {[}$-$0.5, 4.0{]} p 0.020 & +0.50" in RENDERERS["latex"](report())


def test_markdown_counts_failures_and_what_was_paid() -> None:
    lines = RENDERERS["markdown"](report()).splitlines()
    assert "| rationale | 9 | 2 of 9 (22.2 %) | no code 2, truncation 1 | null 3 |" in lines
    assert "| answer | 8 | 0 of 8 (0.0 %) | - | - |" in lines
    assert "| augment | 4 | 1,000 | 50 | 0.2500 | 0.50 | 1.00 | 2.00 | 30.00 |" in lines
    assert "| answer | 5 | 234 | 6 | 0.0000 | - | - | - | - |" in lines


def test_an_excerpt_keeps_start_and_end() -> None:
    assert excerpt(" a\n b\0\ud800 ") == "a b\ufffd\ufffd"
    assert excerpt("x" * 500 + "end") == f"{'x' * 200} ... {'x' * 97}end"


def test_csv_has_a_column_for_each_number() -> None:
    first, second, third = csv.DictReader(io.StringIO(RENDERERS["csv"](report())))
    assert (first["variant"], first["retrieval"]) == ("pupil/0-shot", "no")
    assert (first["n"], first["planned"]) == ("3", "4")
    assert (first["bleu4"], first["bleu4_low"], first["bleu4_high"]) == ("12.3450", "9.0000", "16.0000")
    assert (second["rationale"], second["augment_test"], second["bleu4"]) == ("star", "true", "")
    assert third["n"] == "1234"
    assert (second["bleu4_vs_baseline"], second["bleu4_vs_baseline_p_holm"]) == ("2.5000", "0.02")
    assert (second["bleu4_vs_no_retrieval"], third["bleu4_vs_baseline"]) == ("", "")


def test_json_holds_everything() -> None:
    found = json.loads(RENDERERS["json"](report()))
    assert found["teacher"] == report().teacher
    assert found["statistics"]["passes"] == [{"number": 1, "tried": 2, "correct": 1}]
    assert found["statistics"]["words_per_augmentation"] is None
    first, second, _ = found["ablation"]
    assert first["scores"]["bleu4"] == {"value": 12.345, "low": 9.0, "high": 16.0, "sd": None}
    assert (first["student"], first["shots"], first["best"]) == ("pupil", 0, ["bleu4"])
    assert second["scores"] == {}
    assert found["stages"][1]["left"] == 6
    assert [row["retrieval"] for row in found["ablation"]] == ["no", "yes", "no"]
    [effect] = found["effects"]
    assert (effect["against"], effect["baseline"], effect["n"]) == ("pupil/0-shot", True, 3)
    assert effect["differences"]["char_bleu"] == {
        "value": 0.5, "low": -0.5, "high": 4.0, "p_value": 0.02, "p_holm": pytest.approx(0.12),
    }  # fmt: skip
    rationale, answer = found["failure_modes"]
    assert (rationale["modes"], rationale["rejected"]) == ({"no_code": 2, "truncation": 1}, {"null": 3})
    assert rationale["examples"]["no_code"][0]["question_id"] == "q<1>"
    assert answer["examples"] == {}
    assert found["spending"][0]["latency"] == {"p50": 0.5, "p90": 1, "p99": 2, "max": 30}
    quality, nothing = found["retrieval"]
    assert (quality["retrieval"], quality["right"], quality["missed"]) == ("yes", 2, 1)
    assert (quality["precision"], quality["miss_rate"], nothing["precision"]) == (33.3333, 33.3333, None)


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
    found = drawings(report())
    bleu, stages = (
        found["BLEU-4 of each cell, axis from 0 to 20 percent"],
        found["Units of each stage by state"],
    )
    bars = bleu.findall("rect")
    assert [bar.get("class") for bar in bars] == ["bar best", "bar"]
    # The longest bar's interval ends within the axis: 298 wide for 20 percent.
    assert float(bars[0].get("width", 0)) == pytest.approx(12.345 * 298 / 20, abs=0.1)
    widths = [float(bar.get("width", 0)) for bar in stages.findall("rect")[2:]]
    assert [width / 298 for width in widths] == pytest.approx([3 / 12, 2 / 12, 1 / 12, 6 / 12], abs=0.001)


def test_html_draws_differences_about_the_line_of_none() -> None:
    found = drawings(report())
    forest = found["BLEU-4: differences with 95 % intervals, axis from -5 to 5 points"]
    [dot] = forest.findall("circle")
    # 147 is the middle, 143 wide for 5 points.
    assert (float(dot.get("cx", 0)), dot.get("class")) == (
        pytest.approx(147 + 2.5 * 143 / 5, abs=0.1),
        "sure",
    )
    assert "+2.50*" in [text.text for text in forest.findall("text")]
    worse = found["Exact match: differences with 95 % intervals, axis from -5 to 5 points"].find("circle")
    assert worse is not None
    assert (float(worse.get("cx", 0)) < 147, worse.get("class")) == (True, "unsure")


def test_html_colours_the_grid_by_score() -> None:
    other = replace(report().table[1], cell=replace(STAR, augment_test=False), n=4, measures=MEASURES)
    best = {**MEASURES, "bleu4": Measure(30.0, 20.0, 40.0)}
    pupil = (report().table[0], other, replace(other, cell=Cell("pupil", 2, "", "star"), measures=best))
    fields = drawings(replace(report(), table=pupil))["BLEU-4 of each cell in percent"].findall("rect")
    assert [field.get("fill-opacity") for field in fields] == ["0.32", "0.32", "0.70"]
    assert [field.get("x") for field in fields] == ["113.0", "237.0", "113.0"]


def test_html_draws_what_was_paid() -> None:
    found = drawings(report())
    widths = [
        float(bar.get("width", 0)) for bar in found["Tokens of each stage, with dollars"].findall("rect")
    ]
    assert widths == pytest.approx([298 * tokens / 1050 for tokens in (1000, 50, 234, 6)], abs=0.1)
    assert len(found["Seconds of a call, axis from 0 to 2"].findall("rect")) == 1


def test_html_shows_single_rows_as_they_are() -> None:
    answer = Answer(PLAIN.variant, "ask <b>", "\n x & y", SCRIPT, right=False, verdict="not the reference")
    other = Answer("rival/0-shot", verdict="failed: null")
    sample = Sample(3, "q<3>", "sort <it>", "a < b", {each.variant: each for each in (answer, other)})
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


def test_rows_are_chosen_evenly() -> None:
    assert evenly(5, 9) == [0, 1, 2, 3, 4]
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(0, 4) == []


def test_a_long_text_is_cut_in_the_middle() -> None:
    assert shown("a\r\n\tb\0\ud800") == "a\n\tb\ufffd\ufffd"
    assert shown("x" * 10 + "yz", 3, 2) == "xxx\n... 7 characters left out ...\nyz"


def test_html_shortens_labels_that_are_wider_than_a_phone() -> None:
    cell = Cell("x" * 60, 2, "retrieval", "star")
    shown = RENDERERS["html"](replace(report(), table=(replace(report().table[0], cell=cell),)))
    labels = re.findall(r'<text x="0"[^>]*>([^<]*)</text>', shown)
    assert f"...{'x' * 27}/2-shot/retrieval/star" in labels
    assert max(map(len, labels)) == 52


def test_latex_escapes_what_is_special() -> None:
    assert latex(r"a_b 50% $x$ {y} \z #1 ~ ^ &") == (
        r"a\_b 50\% \$x\$ \{y\} \textbackslash{}z \#1 \textasciitilde{} \textasciicircum{} \&"
    )
    assert latex("--a <b>\n'c' é 模") == (
        r"-{}-a \textless{}b\textgreater{} \textquotesingle{}c\textquotesingle{} é U+6A21"
    )


@pytest.mark.parametrize("of", [report(), empty()], ids=["full", "empty"])
def test_latex_is_a_whole_document(of: Report, tmp_path: Path) -> None:
    text = RENDERERS["latex"](of)
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == (6 if of.effects else 2)
    for table in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, re.DOTALL):
        columns, body = table
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    engine = shutil.which("pdflatex")
    if engine:
        (tmp_path / "report.tex").write_text(text, encoding="utf-8")
        command = [engine, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)


def printed(*renderables: object, width: int = 100, terminal: bool = False) -> str:
    """As the command line prints, to a terminal or to a pipe; without the blanks at the ends of lines."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system=None, soft_wrap=not terminal
    )
    console.print(*renderables)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_terminal_shows_a_cell_on_a_line_of_100_columns() -> None:
    lines = printed(ablation_table(report()), terminal=True).splitlines()
    assert max(map(len, lines)) <= 100
    [row] = [line for line in lines if line.startswith("  2-shot, retrieval, STaR, augmented")]
    assert row.split()[-4:] == ["-"] * 4
    assert [line.strip() for line in lines if "pupil" in line or "rival" in line] == ["pupil", "rival"]
    assert "12.35 ±3.5*" in lines[3]
    assert lines[-1].startswith("[note] of 100 %")


def test_a_pipe_has_no_width() -> None:
    long = replace(report().table[0], cell=Cell("p", 2, "retrieval", "first_pass", augment_test=True))
    text = printed(ablation_table(replace(report(), table=(long,))), width=40)
    assert re.search(r"2-shot, retrieval, first pass, augmented +3 of 4 +12\.35 ±3\.5\* +13\.35 ±4\.0 ", text)


def test_terminal_and_markdown_show_what_was_retrieved() -> None:
    text = printed(retrieval_table(report()))
    assert re.search(r"^yes +3 +2 of 6 \(33\.3 %\) +1 \(33\.3 %\) +40$", text, re.MULTILINE)
    assert re.search(r"^filler +3 +- +3 \(100\.0 %\) +0$", text, re.MULTILINE)
    both = tuple(replace(each, augment_test=bool(place)) for place, each in enumerate(report().retrieval))
    assert "filler, augmented" in printed(retrieval_table(replace(report(), retrieval=both)))
    assert "| yes | 3 | 2 of 6 (33.3 %) | 1 (33.3 %) | 40 |" in RENDERERS["markdown"](report())
    assert "## Retrieval" not in RENDERERS["markdown"](empty())


def test_terminal_shows_the_statistics() -> None:
    text = printed(statistics_table(report()))
    assert re.search(r"Correct at the first pass +1 of 3 \(33\.3 %\)", text)
    assert re.search(r"Became correct, rationalization pass 1 +1 of 2 \(50\.0 %\)", text)
    assert re.search(r"Failed units, whole run +1: refusal 1", text)
    assert re.search(r"Words per augmentation +-\n", text)
    assert re.search(r"Cost +\$0\.0123", text)
