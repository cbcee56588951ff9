"""Differences as values of JSON, and as lines and columns of CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from producer.results.differences import Difference
from producer.results.report.build import Report
from producer.results.report.effects import AxisEffect, CellComparison
from producer.results.report.table_parts import rounded

# The ends of the columns of a difference.
AGAINST_PARTS = ("", "_low", "_high", "_p", "_p_holm")
PARTS = (*AGAINST_PARTS, "_least_visible", "_d_z")
# What a cell is compared with, by the word in the columns' names.
AGAINST: dict[str, Callable[[CellComparison], bool]] = {
    "baseline": lambda effect: effect.baseline,
    "no_retrieval": lambda effect: effect.retrieval,
}


def effect_document(effect: CellComparison) -> dict[str, Any]:
    """Describe a comparison of two cells; p-values, plain and corrected (`p_holm`), are not rounded."""
    return {
        "variant": effect.cell.name,
        "against": effect.against.name,
        "baseline": effect.baseline,
        "retrieval": effect.retrieval,
        "axis": effect.axis or None,
        "n": effect.n,
        "rows": effect.rows,
        "questions": effect.questions,
        "differences": differences_document(effect.differences),
    }


def contrast_document(effect: AxisEffect) -> dict[str, Any]:
    """Describe the effect of an axis, or an interaction, over all pairs or squares of cells."""
    contrast, compared = effect.contrast, effect.comparison
    return {
        "name": contrast.name,
        "kind": _kind(effect),
        "changes": [
            {"axis": change.axis, "from": change.low, "to": change.high} for change in contrast.changes
        ],
        "pairs": effect.pairs,
        "pairs_without_answers": effect.missing,
        "n": compared.n,
        "rows": compared.rows,
        "questions": compared.questions,
        "differences": differences_document(compared.differences),
    }


def differences_document(differences: Mapping[str, Difference]) -> dict[str, Any]:
    return {name: rounded(asdict(difference)) for name, difference in differences.items()}


def _kind(effect: AxisEffect) -> str:
    return "interaction" if effect.contrast.is_interaction else "effect"


def against_columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns of the line of a cell."""
    return [f"{name}_vs_{what}{part}" for what in AGAINST for name in metrics for part in AGAINST_PARTS]


def against_values(report: Report, cell: object) -> Iterator[str]:
    for is_wanted in AGAINST.values():
        effect = next((each for each in report.effects if each.cell == cell and is_wanted(each)), None)
        for name in report.compared:
            values = _values(effect.differences[name]) if effect else [""] * len(PARTS)
            yield from values[: len(AGAINST_PARTS)]


def difference_columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns of the line of a contrast."""
    return [f"{name}_difference{part}" for name in metrics for part in PARTS]


def difference_lines(report: Report) -> Iterator[dict[str, str]]:
    """Yield a line for each effect, interaction and pair of cells, by column."""
    for effect in report.axis_effects:
        compared = effect.comparison
        yield {"kind": _kind(effect), "variant": effect.contrast.name, "n": str(compared.n),
               "questions": str(compared.questions), **_by_column(compared.differences)}  # fmt: skip
    for pair in report.effects:
        yield {"kind": "pair", "variant": pair.cell.name, "against": pair.against.name, "n": str(pair.n),
               "student": pair.cell.student, "questions": str(pair.questions),
               **_by_column(pair.differences)}  # fmt: skip


def _by_column(differences: Mapping[str, Difference]) -> dict[str, str]:
    return {
        f"{name}_difference{part}": value
        for name, difference in differences.items()
        for part, value in zip(PARTS, _values(difference), strict=True)
    }


def _values(each: Difference) -> list[str]:
    points = [each.value, each.low, each.high]
    decimals = ["" if value is None else f"{value:.4f}" for value in (each.least_visible, each.d_z)]
    return [*(f"{value:.4f}" for value in points), f"{each.p_value:.4g}", f"{each.p_holm:.4g}", *decimals]
