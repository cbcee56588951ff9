"""Every format of one report, on names and numbers that are hard to show."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from models.core.pipeline.grid import Cell
from producer.results.report.build import Report
from producer.results.report.formats import RENDERERS
from producer.results.report.groups import Grouping
from producer.results.report.latex import escape as latex
from producer.results.report.markdown import escape as markdown
from producer.results.report.samples import cut_middle, evenly_spaced
from producer.results.report.sections import SECTIONS, report_sections, retrieval
from producer.results.report.statistics import one_line_excerpt
from producer.results.report.synthetic_samples import SyntheticSample
from producer.results.report.terminal import ablation_table, rows_to_look_at, section_table, summary_tables
from tests.support.reports import empty, report


@pytest.mark.parametrize("name", RENDERERS)
def test_every_format_shows_an_empty_run(name: str) -> None:
    shown = RENDERERS[name](empty())
    assert "small-1" in shown
    assert shown.endswith("\n")
    assert not re.search(r"\bnan\b", shown.lower())


@pytest.mark.parametrize(
    ("name", "heading"), [("markdown", "## {}\n"), ("latex", r"\caption{{{} in run"), ("html", "<h2>{}</h2>")]
)
def test_formats_have_the_same_sections_in_the_same_order(name: str, heading: str) -> None:
    text = RENDERERS[name](report())
    sections = report_sections(report())
    assert len(sections) == len(SECTIONS)
    # The LaTeX of remarks alone has no caption.
    sections = [section for section in sections if section.rows or name != "latex"]
    starts = [text.index(heading.format(section.title)) for section in sections]
    assert starts == sorted(starts)


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
        r"| +2.50\* \[-0.5, 4.0\] p 0.020 | +0.50 \[-0.5, 4.0\] p 0.120, visible 3.0 "
        r"| -1.50 \[-0.5, 4.0\] p 0.220, visible 3.0 |"
    ) in lines
    assert (
        r"| Rationale: STaR less first pass | charBLEU | 300 | +0.50 | \[-0.5, 4.0\] | 0.120 | +0.10 | 3.0 |"
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
    assert one_line_excerpt(" a\n b\0\ud800 ") == "a b\ufffd\ufffd"
    assert one_line_excerpt("x" * 500 + "end") == f"{'x' * 200} ... {'x' * 97}end"


def test_csv_has_a_column_for_each_number() -> None:
    lines = [*csv.DictReader(io.StringIO(RENDERERS["csv"](report())))]
    first, second, third, effect, _, crossed, pair = lines
    assert [line["kind"] for line in lines] == ["cell"] * 3 + ["effect"] * 2 + ["interaction", "pair"]
    assert (effect["variant"], effect["bleu4_difference"], effect["bleu4_difference_least_visible"]) == (
        "Rationale: STaR less first pass", "2.5000", "3.0000",
    )  # fmt: skip
    assert crossed["variant"].endswith("x Documentation: shown less none")
    assert (pair["variant"], pair["against"]) == (second["variant"], first["variant"])
    assert (first["variant"], first["retrieval"]) == ("pupil/0-shot", "no")
    assert (first["n"], first["planned"]) == ("3", "4")
    assert (first["bleu4"], first["bleu4_low"], first["bleu4_high"]) == ("12.3450", "9.0000", "16.0000")
    assert (second["rationale"], second["augment_test"], second["bleu4"]) == ("star", "true", "")
    assert third["n"] == "1234"
    assert (second["bleu4_vs_baseline"], second["bleu4_vs_baseline_p_holm"]) == ("2.5000", "0.02")
    assert (second["bleu4_vs_no_retrieval"], third["bleu4_vs_baseline"]) == ("", "")


def test_json_holds_everything() -> None:
    document = json.loads(RENDERERS["json"](report()))
    assert document["teacher"] == report().teacher
    assert document["statistics"]["passes"] == [{"number": 1, "tried": 2, "correct": 1}]
    assert document["statistics"]["words_per_augmentation"] is None
    first, second, _ = document["ablation"]
    assert first["scores"]["bleu4"] == {"value": 12.345, "low": 9.0, "high": 16.0, "sd": None}
    assert (first["student"], first["shots"], first["best"]) == ("pupil", 0, ["bleu4"])
    assert second["scores"] == {}
    assert document["stages"][2]["left"] == 6
    assert [row["retrieval"] for row in document["ablation"]] == ["no", "yes", "no"]
    [effect] = document["effects"]
    assert (effect["against"], effect["baseline"], effect["n"]) == ("pupil/0-shot", True, 3)
    assert effect["differences"]["char_bleu"] == {
        "value": 0.5, "low": -0.5, "high": 4.0, "p_value": 0.02, "p_holm": pytest.approx(0.12),
        "p_is_bound": False, "least_visible": 3.0, "d_z": 0.1, "enough_rows": True, "corrected": True,
    }  # fmt: skip
    star, _, crossed = document["contrasts"]
    assert star["changes"] == [{"axis": "rationale", "from": "first_pass", "to": "star"}]
    assert (star["kind"], crossed["kind"], crossed["pairs"]) == ("effect", "interaction", 1)
    rationale, answer = document["failure_modes"]
    assert (rationale["modes"], rationale["rejected"]) == ({"no_code": 2, "truncation": 1}, {"null": 3})
    assert rationale["examples"]["no_code"][0]["question_id"] == "q<1>"
    assert answer["examples"] == {}
    assert document["spending"][0]["latency"] == {"p50": 0.5, "p90": 1, "p99": 2, "max": 30}
    quality, nothing = document["retrieval"]
    assert (quality["retrieval"], quality["right"], quality["missed"]) == ("yes", 2, 1)
    assert (quality["precision"], quality["miss_rate"], nothing["precision"]) == (33.3333, 33.3333, None)


def test_rows_are_chosen_evenly() -> None:
    assert evenly_spaced(5, 9) == [0, 1, 2, 3, 4]
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(0, 4) == []


def test_a_long_text_is_cut_in_the_middle() -> None:
    assert cut_middle("a\r\n\tb\0\ud800") == "a\n\tb\ufffd\ufffd"
    assert cut_middle("x" * 10 + "yz", 3, 2) == "xxx\n... 7 characters left out ...\nyz"


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
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == (9 if of.effects else 2)
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
    """Return what the command line prints to a terminal or a pipe, without trailing blanks."""
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
    assert "12.3 [9,16]^" in lines[3]
    assert lines[-1].startswith("[note] of 100 %")


def test_a_pipe_has_no_width() -> None:
    long = replace(report().table[0], cell=Cell("p", 2, "retrieval", "first_pass", augment_test=True))
    text = printed(ablation_table(replace(report(), table=(long,))), width=40)
    label = "2-shot, retrieval, first pass, augmented"
    assert re.search(rf"{label} +3 of 4 +12\.3 \[9,16\]\^ +13\.3 \[9,17\] ", text)


def test_terminal_and_markdown_show_what_was_retrieved() -> None:
    text = printed(section_table(retrieval(report())))
    assert re.search(r"^yes +3 +2 of 6 \(33\.3 %\) +1 \(33\.3 %\) +40$", text, re.MULTILINE)
    assert re.search(r"^filler +3 +- +3 \(100\.0 %\) +0$", text, re.MULTILINE)
    both = tuple(replace(each, augment_test=bool(index)) for index, each in enumerate(report().retrieval))
    assert "filler, augmented" in printed(section_table(retrieval(replace(report(), retrieval=both))))
    assert "| yes | 3 | 2 of 6 (33.3 %) | 1 (33.3 %) | 40 |" in RENDERERS["markdown"](report())
    assert "## Retrieval" not in RENDERERS["markdown"](empty())


def test_terminal_shows_the_statistics() -> None:
    text = printed(*summary_tables(report()))
    assert re.search(r"Correct at the first pass +1 of 3 \(33\.3 %\)", text)
    assert re.search(r"Became correct, rationalization pass 1 +1 of 2 \(50\.0 %\)", text)
    assert re.search(r"Failed units, whole run +1: refusal 1", text)
    assert re.search(r"Words per augmentation +-\n", text)
    assert re.search(r"Cost +\$0\.0123", text)


def test_terminal_shows_names_of_columns_as_they_are() -> None:
    grouping = Grouping(["[b]Level"], "test")
    grouping.add({"[b]Level": "[i]"}, {"pupil/STaR": [True]})
    text = printed(*summary_tables(replace(report(), groups=grouping.tables())))
    assert "\nBy [b]Level, test\n[b]Level  Rows" in text
    assert re.search(r"^\[i\] +1 +100\.0 % \[20\.7, 100\.0\]$", text, re.MULTILINE)


def test_terminal_names_a_row_of_each_outcome() -> None:
    rows = [("accepted", "a"), ("repaired", "b c"), ("rejected", "d"), ("repaired", "e")]
    samples = [SyntheticSample(outcome, name, "sort " * 20, ()) for outcome, name in rows]
    accepted, repaired, rejected, page = rows_to_look_at("demo-1", samples)
    assert accepted.endswith("[...]: `starmill show demo-1 a`")
    assert repaired.startswith("Repaired by a hint: sort sort ")
    assert repaired.endswith(" 'b c'`")
    assert rejected.endswith(" d`")
    assert "--format html" in page
    assert list(rows_to_look_at("demo-1", [])) == []
