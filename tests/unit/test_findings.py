"""The sentences of findings follow from the counts and tests of a report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace

import pytest

from models.core.types import Usage
from producer.results.differences import Difference
from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.effects import CellComparison
from producer.results.report.findings import cost_of_accepted, findings
from producer.results.report.formats import render_csv
from producer.results.report.groups import ValueTally
from producer.results.report.step_report import StepReport, StepSummary
from storage.ledger.counts import Spending
from tests.support.reports import PLAIN, STAR, axis_effects, empty, report


def scored(plain: float, star: float, p_value: float) -> Report:
    """Return a report of two cells with these shares of exact matches."""
    measures = [{"exact_match": Measure(value, value - 1, value + 1)} for value in (plain, star)]
    difference = Difference(star - plain, -0.5, 4.0, p_value / 2, p_value)
    effect = CellComparison(STAR, PLAIN, True, False, 100, {"exact_match": difference})
    table = tuple(TableRow(cell, 100, 100, each) for cell, each in zip((PLAIN, STAR), measures, strict=True))
    return replace(report(), table=table, effects=(effect,), axis_effects=())


def test_first_finding_counts_what_the_teacher_made() -> None:
    assert findings(report())[0] == (
        "The teacher was right at the first pass in 1 of 3 (33.3 %); hints made 1 more right; "
        "2 of 4 (50.0 %) are accepted, at $0.0062 each."
    )
    assert cost_of_accepted(report()) == "$0.0062"


def test_nothing_is_said_of_a_price_that_is_unknown() -> None:
    free = replace(report().statistics, cost_usd=0.0)
    unpriced = replace(report(), unpriced=("teacher",), statistics=free)
    assert cost_of_accepted(unpriced) == "unknown"
    assert findings(unpriced)[0].endswith("2 of 4 (50.0 %) are accepted.")
    assert cost_of_accepted(replace(report(), statistics=replace(free, accepted=0))) == ""


@pytest.mark.parametrize(
    ("p_value", "words", "tests"),
    [
        (0.02, "significant (p 0.020)", "1 of 1 paired differences in exact match is significant"),
        (0.0001, "significant (p 0.0001)", "1 of 1 paired differences in exact match is significant"),
        (
            0.3,
            "which chance may explain (p 0.300)",
            "None of 1 paired differences in exact match is significant",
        ),
    ],
)
def test_the_best_cell_is_named_with_its_test(p_value: float, words: str, tests: str) -> None:
    _, best, tested = findings(scored(10.0, 12.5, p_value))
    assert best == (
        "The highest exact match, 12.50 % [11.5, 13.5], is that of pupil/2-shot/retrieval/star/augmented: "
        f"+2.50 points from pupil/0-shot, {words}."
    )
    assert tested.startswith(f"{tests} at p 0.05 after Holm's correction")
    assert tested.endswith(": 1 up, 0 down." if p_value < 0.05 else "correction.")


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(3.48, 0.7, 7.8, 0.0001, 0.0003, p_is_bound=True, least_visible=5.8),
         "+3.48 points of exact match [0.7, 7.8], significant (p <= 0.0003)."),
        (Difference(3.48, -0.7, 7.8, 0.06, 0.12, least_visible=5.8),
         "+3.48 points of exact match [-0.7, 7.8], which chance may explain (p 0.120); "
         "5.8 was the least visible."),
        (Difference(3.48, -0.7, 7.8, 0.06, 0.12, least_visible=5.8, enough_rows=False),
         "+3.48 points of exact match [-0.7, 7.8], too few to compare."),
    ],
)  # fmt: skip
def test_claims_of_the_paper_follow_from_their_contrasts(difference: Difference, words: str) -> None:
    _, _, star, documented = findings(
        replace(report(), axis_effects=axis_effects({"exact_match": difference}))
    )
    assert star == f"Rationale: STaR less first pass: {words}"
    assert documented == f"Documentation: shown less none: {words}"


def test_ties_are_not_best() -> None:
    assert findings(scored(0.0, 0.0, 1.0))[1] == "All 2 cells have the same exact match, 0.00 %."
    tied = scored(1.0, 1.0, 1.0)
    third = replace(tied.table[0], measures={"exact_match": Measure(0.5, 0.0, 1.0)})
    tied = replace(tied, table=(*tied.table, third))
    assert findings(tied)[1] == "2 of 3 cells share the highest exact match, 1.00 %."


def test_a_run_without_results_has_no_findings() -> None:
    assert findings(empty()) == ()


def test_findings_of_steps_are_of_rows_verdicts_and_spending() -> None:
    right = ValueTally()
    for value in (True, True, True, False):
        right.add([value])
    paid, nothing = Spending(5, Usage(prompt=90, completion=10), 0, 1.0), Spending.nothing()
    steps = (
        StepSummary("draft", "generate", "right", "teacher", 5, 5, 0, 0, paid, Counter(), {}),
        StepSummary("check", "judge", "right", "", 5, 4, 0, 1, nothing, Counter(), {"right": right}),
    )
    results = StepReport(rows=5, done=4, failed=1, accepted=3, steps=steps)
    numbers = replace(report().statistics, calls=5, prompt_tokens=90, completion_tokens=10, cost_usd=0.3)
    rows, verdict, spending = findings(replace(report(), step_report=results, statistics=numbers))
    assert rows == "4 of 5 (80.0 %) rows are done, 1 failed; 3 of 5 (60.0 %) are accepted, at $0.1000 each."
    assert verdict == "check: 75.0 % right [30.1, 95.4] of 4."
    assert spending == "5 calls with 100 tokens cost $0.3000; 100 % of the tokens went into draft."


@pytest.mark.parametrize(("unpriced", "cost"), [((), "0.0"), (("teacher",), ""), (("other",), "0.0")])
def test_an_unknown_cost_is_an_empty_cell_of_csv(unpriced: tuple[str, ...], cost: str) -> None:
    paid = Spending(5, Usage(prompt=90, completion=10), 0, 1.0)
    step = StepSummary("draft", "generate", "right", "teacher", 5, 5, 0, 0, paid, Counter(), {})
    results = StepReport(rows=5, done=5, steps=(step,))
    text = render_csv(replace(report(), step_report=results, unpriced=unpriced))
    [line] = csv.DictReader(io.StringIO(text))
    assert (line["calls"], line["cost_usd"]) == ("5", cost)
