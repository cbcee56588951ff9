"""Sections of a report on differences: effects of axes, their interactions, and pairs of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from producer.results.differences import (
    LEVEL,
    MIN_QUESTIONS,
    MIN_ROWS,
    Difference,
    points,
    test_words,
    visible_words,
)
from producer.results.report.build import Report
from producer.results.report.effects import AxisEffect, CellComparison
from producer.results.report.table_parts import NOTHING, Section, interval_text, section_of_texts

# A longer table is left to JSON and CSV.
MAX_SHOWN = 40
D_Z = "d_z is the difference over its standard deviation. "
COLUMNS = ("n", "Difference", "95 % interval", "p", "d_z", "Least visible")


def main_effects(report: Report) -> Section:
    """Return each effect of an axis in each score."""
    effects = [effect for effect in report.axis_effects if not effect.contrast.is_interaction]
    note = "Percent points: the mean over all pairs of cells that differ in nothing else. "
    return _effects_section("Effects", report, effects, tuple(report.compared), note)


def crossed_effects(report: Report) -> Section:
    effects = [effect for effect in report.axis_effects if effect.contrast.is_interaction]
    note = "Percent points by which the second change alters the effect of the first. "
    return _effects_section("Interactions", report, effects, tuple(report.compared), note)


def main_effects_in(report: Report, metric: str) -> Section | None:
    """Return the effects in one score, narrow enough for a terminal, or None if there are none."""
    effects = [effect for effect in report.axis_effects if not effect.contrast.is_interaction]
    if not effects or metric not in report.compared:
        return None
    title = f"Effects in {report.compared[metric].lower()}"
    return _effects_section(title, report, effects, (metric,), "Percent points. ")


def _effects_section(
    title: str, report: Report, effects: Sequence[AxisEffect], metrics: Sequence[str], note: str
) -> Section:
    several = len(metrics) > 1
    shown = effects[:MAX_SHOWN]
    rows = [
        (effect.contrast.name, *([report.compared[name]] if several else []), *_columns(effect, name))
        for effect in shown
        for name in metrics
    ]
    headings = ("Contrast", *(["Score"] if several else []), *COLUMNS)
    remarks = [*_left_out(len(effects)), *map(_missing, (effect for effect in shown if effect.missing))]
    note += explanation(_all(shown, metrics), len(effects), with_d_z=True)
    section = section_of_texts(title, headings, rows, note, (0, 1) if several else (0,))
    return replace(section, remarks=tuple(remarks))


def _all(effects: Sequence[AxisEffect], metrics: Sequence[str]) -> list[Difference]:
    return [effect.comparison.differences[name] for effect in effects for name in metrics]


def _columns(effect: AxisEffect, metric: str) -> tuple[str, ...]:
    difference = effect.comparison.differences[metric]
    return (f"{effect.comparison.n:,}", *difference_columns(difference))


def difference_columns(difference: Difference) -> tuple[str, str, str, str, str]:
    """Return what stands in COLUMNS but n."""
    d_z = difference.d_z if difference.enough_rows else None
    return (
        points(difference), interval_text(difference.low, difference.high), test_words(difference),
        NOTHING if d_z is None else f"{d_z:+.2f}", visible_words(difference) or NOTHING,
    )  # fmt: skip


def explanation(
    differences: Sequence[Difference], tests: int | None, kind: str = "tests", *, with_d_z: bool = False
) -> str:
    """Return what a table says of p, corrected for so many `tests` of a kind, of `*` and of the columns."""
    number = "" if tests is None else f"{tests:,} "
    family = "of one test" if tests == 1 else f"corrected for all {number}{kind} of a score (Holm)"
    meaning = f"p is {family}; * marks p below {LEVEL}"
    if not all(each.corrected for each in differences):
        meaning = "p is not corrected: contrasts were explored, not declared, and none is called significant"
    enough = all(each.enough_rows for each in differences)
    alone = "" if tests == 1 else " Intervals and least visible differences are not corrected."
    return (
        "Intervals of 95 % are by the paired bootstrap over questions; p by swaps of a question's answers, "
        f"exact for right or wrong. {meaning}. {D_Z if with_d_z else ''}"
        f"Least visible is the difference that a test at 5 % finds with 80 % power.{alone}"
        + ("" if enough else f" Below {MIN_ROWS} rows or {MIN_QUESTIONS} questions nothing is tested.")
    )


def _missing(effect: AxisEffect) -> str:
    pairs = effect.pairs + effect.missing
    return f"{effect.contrast.name}: {effect.missing} of {pairs} pairs of cells have no common answers."


def _left_out(number: int) -> list[str]:
    return [f"{number - MAX_SHOWN:,} more are in JSON and CSV."] if number > MAX_SHOWN else []


def cell_pairs(report: Report) -> Section:
    """Return the differences of single cells, with the baseline and of one axis."""
    shown = report.effects[:MAX_SHOWN]
    all_shown = [effect.differences[name] for effect in shown for name in report.compared]
    section = section_of_texts(
        "Paired differences",
        ("Cell", "Against", "n", *report.compared.values()),
        (
            (*_pair(effect), *(_in_short(effect.differences[name]) for name in report.compared))
            for effect in shown
        ),
        "Percent points over the same test rows and seeds. " + explanation(all_shown, len(report.effects)),
        (0, 1),
    )
    return replace(section, remarks=tuple(_left_out(len(report.effects))))


def _pair(effect: CellComparison) -> tuple[str, str, str]:
    against = effect.against.name + (" (baseline)" if effect.baseline else "")
    return effect.cell.name, against, f"{effect.n:,}"


def _in_short(difference: Difference) -> str:
    """Return a difference, such as `+0.50 [-0.5, 4.0] p 0.120, visible 5.8`."""
    test = test_words(difference)
    visible = visible_words(difference) if not difference.significant else ""
    words = f"p {test}" if difference.enough_rows else test
    interval = interval_text(difference.low, difference.high)
    return f"{points(difference)} {interval} {words}" + (f", visible {visible}" if visible else "")
