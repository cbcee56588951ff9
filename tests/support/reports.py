"""A report with names and numbers that are hard to show, and one of a run in which nothing happened."""

from __future__ import annotations

from dataclasses import replace

from models.core.experiment.options import DEFAULT_METRICS
from models.core.pipeline.contrasts import interactions, main_contrasts
from models.core.pipeline.grid import Cell
from producer.results.differences import Comparison, Difference
from producer.results.report.ablation_table import METRICS, Measure, TableRow
from producer.results.report.build import Report, StageCount
from producer.results.report.effects import AxisEffect, CellComparison, compared_metrics
from producer.results.report.measures import QUANTILES, RetrievalQuality, StageSpending
from producer.results.report.statistics import FailureExample, Pass, StageFailures, Statistics

SCRIPT = "</title></script><script>alert(1)</script>"
MEASURES = {name: Measure(12.345 + index, 9.0, 16.0 + index) for index, name in enumerate(METRICS)}

PLAIN, STAR = Cell("pupil", 0, "", "none"), Cell("pupil", 2, "retrieval", "star", augment_test=True)
DIFFERENCES = {
    name: Difference(
        2.5 - 2 * index,
        -0.5,
        4.0,
        0.01 + index / 100,
        0.02 + index / 10,
        least_visible=3.0,
        d_z=0.2 - index / 10,
    )
    for index, name in enumerate(compared_metrics(DEFAULT_METRICS))
}
SQUARE = [
    Cell("pupil", 2, documentation, rationale)  # type: ignore[arg-type]
    for documentation in ("", "retrieval")
    for rationale in ("first_pass", "star")
]


def axis_effects(differences: dict[str, Difference] = DIFFERENCES) -> tuple[AxisEffect, ...]:
    """Return effects of rationales and documentation, and their interaction, all with these differences."""
    main = main_contrasts(SQUARE)
    return tuple(
        AxisEffect(each, len(each.blocks), 0, Comparison(300, 150, 90, differences))
        for each in (*main, *interactions(main))
    )


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
        stages=(
            StageCount("train", "augment", 4, 3, 0, 1),
            StageCount("train", "rationale", 3, 3, 0, 0),
            StageCount("test", "judge", 12, 3, 2, 1),
        ),
        notes=(f"[note] of 100 % {SCRIPT}",),
        retrieval=(
            RetrievalQuality("yes", False, rows=3, shown=6, right=2, missed=1, tokens=40.25),
            RetrievalQuality("filler", False, rows=3, shown=0, right=0, missed=3, tokens=0.0),
        ),
        failing=(
            StageFailures(
                "rationale",
                9,
                2,
                {"no_code": 2, "truncation": 1},
                {"null": 3},
                {"no_code": (FailureExample("q<1>", "", f"a|b {SCRIPT}"),)},
            ),
            StageFailures("answer", 8, 0, {}, {}, {}),
        ),
        spending=(
            StageSpending(
                "augment", 4, 1000, 0, 50, 0.25, dict(zip(QUANTILES, (0.5, 1, 2, 30), strict=True))
            ),
            StageSpending("answer", 5, 234, 0, 6, 0.0, {}),
        ),
        effects=(CellComparison(STAR, PLAIN, baseline=True, retrieval=False, n=3, differences=DIFFERENCES),),
        axis_effects=axis_effects(),
    )


def empty() -> Report:
    """Return the report of a run without test examples and without results."""
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
        axis_effects=(),
        failing=(),
        spending=(),
    )
