"""Paired differences between cells, and the effects of axes over all cells that differ in one alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from models.core.experiment.families import Contrasts
from models.core.experiment.options import Metric
from models.core.pipeline.contrasts import Cells, Contrast, interactions, main_contrasts
from models.core.pipeline.grid import Cell
from producer.results.differences import Comparison, Difference, compare_family
from producer.results.report.ablation_table import CellScores
from producer.results.report.grid_rows import GridRows


@dataclass(frozen=True, slots=True)
class CellComparison:
    """The scores of `cell` above those of `against` in the `n` answers that both gave, by metric. `against`
    is the student's `baseline`, or differs in `axis` alone (for `retrieval` it has no documentation), or
    both. The answers are to `rows` rows on so many `questions`."""

    cell: Cell
    against: Cell
    baseline: bool
    retrieval: bool
    n: int
    differences: dict[str, Difference]
    axis: str = ""
    rows: int = 0
    questions: int = 0


@dataclass(frozen=True, slots=True)
class AxisEffect:
    """The effect of a change of one axis, a main effect, or the interaction of two changes: the mean over
    `pairs` pairs (or squares) of cells that differ in nothing else. `missing` more lack answers."""

    contrast: Contrast
    pairs: int
    missing: int
    comparison: Comparison


def compared_metrics(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that have differences: those that measure right answers."""
    return [name for name in metrics if name != "parse_rate"]


# Each takes about a tenth of a second and a metric.
MAX_INTERACTIONS = 100
# The score that findings are about: the first of these that there is, or else the first of all.
DECISIVE: Sequence[Metric] = ("accuracy", "exact_match")


def decisive_metric(metrics: Collection[str]) -> str:
    """Return the metric that findings are about, "" without metrics."""
    return next((name for name in (*DECISIVE, *metrics) if name in metrics), "")


def compare_cells(
    cell_scores: Sequence[CellScores], metrics: Sequence[Metric], declared: Contrasts | None = None
) -> tuple[CellComparison, ...]:
    """Compare each cell with its student's baseline, and all pairs of the contrasts. They are one family."""
    rows = GridRows(cell_scores)
    grid = [scores.cell for scores in cell_scores]
    pairs = {(cell, other): "" for cell in grid if (other := _baseline(cell, grid)) != cell}
    for contrast in main_contrasts(grid, declared):
        axis = contrast.changes[0].axis
        pairs |= {(after, before): axis for (before,), (after,) in contrast.blocks}
    scored = {rows_of: axis for rows_of, axis in pairs.items() if rows.have(rows_of)}
    paired = (rows.pair([((other,), (cell,))]) for cell, other in scored)
    compared = compare_family(paired, len(scored), metrics, corrected=declared != "explore")
    return tuple(
        CellComparison(
            cell, other, other == _baseline(cell, grid), cell.retrieval != "" and other == _without(cell),
            each.n, each.differences, axis, each.rows, each.questions,
        )
        for ((cell, other), axis), each in zip(scored.items(), compared, strict=True)
    )  # fmt: skip


def planned_effects(
    grid: Sequence[Cell], declared: Contrasts | None
) -> tuple[list[Contrast], list[Contrast]]:
    """Return the contrasts that are tested, and the interactions."""
    main = main_contrasts(grid, declared)
    crossed = interactions(main)
    are_too_many = not isinstance(declared, list) and len(crossed) > MAX_INTERACTIONS
    return main, [] if are_too_many else crossed


def interaction_notes(grid: Sequence[Cell], declared: Contrasts | None) -> list[str]:
    """Say if interactions are not tested since they are too many."""
    main, crossed = planned_effects(grid, declared)
    untested = 0 if crossed else len(interactions(main))
    return [f"{untested:,} interactions are too many to test; grid.contrasts chooses."] if untested else []


def axis_effects(
    cell_scores: Sequence[CellScores],
    metrics: Sequence[Metric],
    declared: Contrasts | None = None,
    *,
    crossed: bool = True,
) -> tuple[AxisEffect, ...]:
    """Return the main effects, which are one family, and, if `crossed`, then the interactions, another. Of
    more than MAX_INTERACTIONS none is tested, unless contrasts are declared."""
    rows = GridRows(cell_scores)
    grid = [scores.cell for scores in cell_scores]
    main, squares = planned_effects(grid, declared)
    families = (_family(rows, each, metrics, declared) for each in (main, squares if crossed else []))
    return tuple(effect for family in families for effect in family)


def _family(
    rows: GridRows, contrasts: Sequence[Contrast], metrics: Sequence[Metric], declared: Contrasts | None
) -> Iterator[AxisEffect]:
    scored = {contrast: [block for block in contrast.blocks if rows.have(_cells(block))]
              for contrast in contrasts}  # fmt: skip
    answered = {contrast: blocks for contrast, blocks in scored.items() if blocks}
    paired = map(rows.pair, answered.values())
    compared = compare_family(paired, len(answered), metrics, corrected=declared != "explore")
    for (contrast, blocks), each in zip(answered.items(), compared, strict=True):
        yield AxisEffect(contrast, len(blocks), len(contrast.blocks) - len(blocks), each)


def _cells(block: tuple[Cells, Cells]) -> Cells:
    return (*block[0], *block[1])


def _baseline(cell: Cell, grid: Sequence[Cell]) -> Cell:
    """Return the student's cell without exemplars, documentation and augmentation, or else its first."""
    own = [each for each in grid if each.student == cell.student]
    plain = (each for each in own if not (each.shots or each.retrieval or each.augment_test))
    return next(plain, own[0])


def _without(cell: Cell) -> Cell:
    return replace(cell, retrieval="")
