"""Differences between files of predictions on the rows that both have, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from models.core.errors import UsageError
from models.core.metrics.scores import scores
from models.core.words import question_group
from producer.results.differences import Comparison, PairedRows, compare_family
from producer.results.report.contrast_sections import COLUMNS, difference_columns
from producer.results.report.effect_values import differences_document
from producer.results.score_files import FileStats


@dataclass(frozen=True, slots=True)
class FileComparison:
    """The scores of a file above those of the first, with both on the rows that both have, of which some were
    compared with `other_references`. The files have `only_first` and `only_second` rows more."""

    comparison: Comparison
    first: Mapping[str, float]
    second: Mapping[str, float]
    only_first: int
    only_second: int
    other_references: int


def compare_files(files: Mapping[Path, FileStats], metrics: Sequence[str]) -> dict[Path, FileComparison]:
    """Compare each file with the first; all are one family of a metric. Raise UsageError if there is no
    second file, or if one has no row of the first."""
    (first_path, first), *others = files.items()
    if not others:
        raise UsageError("--paired compares files with the first; name two at least, each once")
    common = {path: [row for row in first.rows if row in other.rows] for path, other in others}
    for path, rows in common.items():
        if not rows:
            raise UsageError(f"{path} has no question_id of {first_path}; compare answers to the same rows")
    sides = {path: (_rows(first, common[path]), _rows(other, common[path])) for path, other in others}
    pairs = (
        PairedRows(before[:, None], after[:, None], _questions(common[path]))
        for path, (before, after) in sides.items()
    )
    compared = compare_family(pairs, len(others), metrics)
    return {
        path: FileComparison(
            comparison, scores(sides[path][0]), scores(sides[path][1]),
            len(first.rows) - comparison.rows, len(other.rows) - comparison.rows,
            sum(_reference(first, row) != _reference(other, row) for row in common[path]),
        )
        for (path, other), comparison in zip(others, compared, strict=True)
    }  # fmt: skip


def _rows(stats: FileStats, rows: Sequence[tuple[str, int]]) -> Any:
    return stats.table[[stats.rows[row] for row in rows]].astype(np.int64)


def _reference(stats: FileStats, row: tuple[str, int]) -> int:
    return stats.references[stats.rows[row]]


def _questions(rows: Sequence[tuple[str, int]]) -> Any:
    return np.unique([question_group(key) for key, _ in rows], return_inverse=True)[1]


def comparison_title(first: str, second: str, compared: FileComparison) -> str:
    """Name both files and the rows that they share, how many they do not, and how many have not one
    reference."""
    sizes = compared.comparison
    title = f"{second} less {first}: {sizes.rows:,} rows of {sizes.questions:,} questions"
    if compared.only_first or compared.only_second:
        title += f" (A has {compared.only_first:,} more, B {compared.only_second:,})"
    if others := compared.other_references:
        title += (
            f"\n{others:,} of these rows have another reference in each file: their scores differ by what is "
            "right, not by answers alone; --reference names one for both"
        )
    return title


def comparison_table(compared: FileComparison, headings: Mapping[str, str]) -> Table:
    table = Table("score", box=None, pad_edge=False)
    for heading in ("A", "B", "B - A", *(name.lower() for name in COLUMNS[2:])):
        table.add_column(heading, justify="right")
    for name, difference in compared.comparison.differences.items():
        both = (f"{side[name]:.2f}" for side in (compared.first, compared.second))
        table.add_row(headings[name], *both, *difference_columns(difference))
    return table


def comparison_document(first: Path, compared: FileComparison) -> dict[str, Any]:
    sizes = compared.comparison
    return {
        "against": str(first),
        "n": sizes.rows,
        "questions": sizes.questions,
        "only_first": compared.only_first,
        "only_second": compared.only_second,
        "other_references": compared.other_references,
        "scores": {
            name: [round(side[name], 2) for side in (compared.first, compared.second)]
            for name in sizes.differences
        },
        "differences": differences_document(sizes.differences),
    }
