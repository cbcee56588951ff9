"""Tables of differences where rows are few, equal, wrong, empty or missing, and where there are very many."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from models.core.pipeline.grid import Cell
from producer.results.report.build import Report
from producer.results.report.contrast_sections import cell_pairs, main_effects, main_effects_in
from producer.results.report.effects import interaction_notes
from producer.results.report.findings import findings
from producer.results.report.formats import RENDERERS
from producer.results.report.table_parts import Section
from tests.support.cell_answers import FIRST, STAR, answers, cell_scores, compared, reference, wide_grid

STAR_EFFECT = "Rationale: STaR less first pass"


def lines(section: Section | None) -> list[list[str]]:
    assert section
    return [[value.text for value in row] for row in section.rows]


def exact(report: Report) -> list[str]:
    """Return the line of the effect in exact match: n, difference, interval, p, d_z, least visible."""
    [[name, *values]] = lines(main_effects_in(report, "exact_match"))
    assert name == STAR_EFFECT
    return values


def test_ten_rows_of_two_questions_are_too_few() -> None:
    questions = ["a", "b"] * 5
    report = compared(
        cell_scores(FIRST, answers(0, 10), questions=questions),
        cell_scores(STAR, answers(7, 10), questions=questions),
    )
    n, difference, interval, p_value, d_z, visible = exact(report)
    assert (n, difference, p_value, d_z, visible) == ("10", "+70.00", "too few to compare", "-", "-")
    low, high = map(float, interval.strip("[]").split(","))
    assert low < 70 < high
    assert main_effects(report).note.endswith("Below 50 rows or 6 questions nothing is tested.")
    [pair] = lines(cell_pairs(report))
    assert pair[-1].endswith("too few to compare")
    assert findings(report) == (
        f"{STAR_EFFECT}: +70.00 points of exact match {interval}, too few to compare.",
    )
    [effect] = json.loads(RENDERERS["json"](report))["contrasts"]
    assert (effect["rows"], effect["questions"]) == (10, 2)


def test_one_row_says_nothing_of_others() -> None:
    report = compared(cell_scores(FIRST, answers(0, 1)), cell_scores(STAR, answers(1, 1)))
    assert exact(report) == ["1", "+100.00", "[-100.0, 100.0]", "too few to compare", "-", "-"]
    for render in RENDERERS.values():
        assert not re.search(r"\bnan\b", render(report), re.IGNORECASE)


@pytest.mark.parametrize("right", [0, 60])
def test_equal_cells_have_no_difference_but_an_interval(right: int) -> None:
    """All wrong, or tied: rows that would differ may only be rare."""
    report = compared(cell_scores(FIRST, answers(right)), cell_scores(STAR, answers(right)))
    assert exact(report) == ["60", "+0.00", "[-6.0, 6.0]", "1.000", "-", "-"]
    assert "significant" not in " ".join(findings(report))


def test_all_wrong_is_below_half_right() -> None:
    report = compared(cell_scores(FIRST, answers(30)), cell_scores(STAR, answers(0)))
    n, difference, interval, p_value, d_z, visible = exact(report)
    assert (n, difference, p_value) == ("60", "-50.00*", "< 0.0001")
    low, high = map(float, interval.strip("[]").split(","))
    assert -65 < low < -50 < high < -35
    assert 15 < float(visible) < 22
    assert float(d_z) == pytest.approx(-1, abs=0.1)
    bleu = next(row for row in lines(main_effects(report)) if row[1] == "BLEU-4")
    # None of the shuffles is as large.
    assert bleu[5] == "<= 0.0001"


def test_empty_predictions_are_wrong() -> None:
    report = compared(cell_scores(FIRST, answers(30)), cell_scores(STAR, [""] * 60))
    assert exact(report)[1] == "-50.00*"


def test_nothing_seen_says_what_could_have_been() -> None:
    texts = answers(30)
    texts[0], texts[59] = "wrong(x)", reference(59)
    report = compared(cell_scores(FIRST, answers(30)), cell_scores(STAR, texts))
    _, difference, interval, p_value, _, visible = exact(report)
    assert (difference, p_value) == ("+0.00", "1.000")
    assert findings(report)[-1] == (
        f"{STAR_EFFECT}: +0.00 points of exact match {interval}, which chance may explain (p 1.000); "
        f"{visible} was the least visible."
    )
    assert 5 < float(visible) < 9


def test_seeds_are_averaged_and_their_rows_kept_together() -> None:
    report = compared(
        cell_scores(FIRST, answers(0), answers(30)), cell_scores(STAR, answers(30), answers(30))
    )
    n, difference, *_ = exact(report)
    assert (n, difference) == ("120", "+25.00*")
    [effect] = report.axis_effects
    assert (effect.comparison.rows, effect.comparison.questions) == (60, 60)


def test_a_failed_cell_is_left_out_and_named() -> None:
    documented = [replace(cell, retrieval="retrieval") for cell in (FIRST, STAR)]
    failed: list[str | None] = [None] * 60
    report = compared(
        *(cell_scores(cell, answers(30)) for cell in (FIRST, STAR, documented[0])),
        cell_scores(documented[1], failed),
    )
    section = main_effects(report)
    assert section.remarks == (
        "Rationale: STaR less first pass: 1 of 2 pairs of cells have no common answers.",
        "Documentation: shown less none: 1 of 2 pairs of cells have no common answers.",
    )
    assert {row[2] for row in lines(section)} == {"60"}
    assert {effect.contrast.is_interaction for effect in report.axis_effects} == {False}


def test_explored_contrasts_are_neither_corrected_nor_called_significant() -> None:
    scores = cell_scores(FIRST, answers(0)), cell_scores(STAR, answers(30))
    assert exact(compared(*scores))[1] == "+50.00*"
    report = compared(*scores, declared="explore")
    assert exact(report)[1] == "+50.00"
    assert "explored, not declared" in main_effects(report).note
    assert "significant (" not in " ".join(findings(report))


def test_what_was_not_declared_is_not_tested() -> None:
    cells = [replace(cell, retrieval=name) for name in ("", "retrieval") for cell in (FIRST, STAR)]
    scores = [cell_scores(cell, answers(30)) for cell in cells]
    assert len(compared(*scores).axis_effects) == 3
    [effect] = compared(*scores, declared=["rationale"]).axis_effects
    assert effect.contrast.name == STAR_EFFECT


@pytest.mark.timeout(120)
def test_of_six_hundred_comparisons_the_main_ones_are_shown() -> None:
    grid = wide_grid(retrievals=12, shots=6)
    scores = [cell_scores(cell, answers(cell.shots % 2, 8)) for cell in grid]
    report = compared(*scores, metrics=("exact_match",))
    assert len(report.effects) >= 600
    assert [effect for effect in report.axis_effects if effect.contrast.is_interaction] == []
    assert interaction_notes(grid, None) == ["990 interactions are too many to test; grid.contrasts chooses."]
    assert interaction_notes(grid, [{"shots": [1, 2]}]) == []
    section = cell_pairs(report)
    assert len(section.rows) == 40
    assert section.remarks == (f"{len(report.effects) - 40:,} more are in JSON and CSV.",)
    titles = [line for line in RENDERERS["markdown"](report).splitlines() if line.startswith("## ")]
    assert titles.index("## Effects") < titles.index("## Paired differences")
    assert len(json.loads(RENDERERS["json"](report))["effects"]) == len(report.effects)
    of_kind = [line["kind"] for line in csv.DictReader(io.StringIO(RENDERERS["csv"](report)))]
    assert of_kind.count("pair") == len(report.effects)
    assert len(RENDERERS["markdown"](report)) < 60_000


def test_cells_of_other_students_are_not_compared() -> None:
    rival = Cell("rival", 2, "", "star", exemplars="random")
    report = compared(cell_scores(FIRST, answers(0)), cell_scores(rival, answers(30)))
    assert (report.axis_effects, report.effects) == ((), ())
