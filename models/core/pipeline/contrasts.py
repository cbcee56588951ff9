"""One-factor contrasts of the grid, and interactions of two: which cells are compared with which.

Two cells make a contrast of an axis if they differ in its level alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from models.core.experiment.families import Contrasts, Level
from models.core.experiment.passages import BASE
from models.core.pipeline.grid import Cell


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of the grid. `level` returns the level of a cell, None for a cell that the axis does not
    concern; `words` name levels in tables."""

    heading: str
    level: Callable[[Cell], Level | None]
    words: Mapping[Level, str] = field(default_factory=dict)

    def word(self, level: Level) -> str:
        return self.words.get(level, str(level))


def _documentation(cell: Cell) -> Level:
    return {"": False, BASE: True}.get(cell.retrieval, cell.retrieval)


RATIONALES: Mapping[Level, str] = {"none": "none", "first_pass": "first pass", "star": "STaR"}
# By the key of the grid.
AXES: Mapping[str, Axis] = {
    "rationale": Axis("Rationale", lambda cell: cell.rationale, RATIONALES),
    "retrieval": Axis("Documentation", _documentation, {False: "none", True: "shown"}),
    "shots": Axis("Shots", lambda cell: cell.shots),
    "exemplars": Axis("Exemplars", lambda cell: cell.exemplars or None),
    "augment_test": Axis(
        "Test request", lambda cell: cell.augment_test, {False: "as written", True: "augmented"}
    ),
    "augment_exemplars": Axis(
        "Requests of exemplars",
        lambda cell: cell.augment_exemplars if cell.augment_exemplars_vary else None,
        {False: "as written", True: "augmented"},
    ),
    "wrong_rationales": Axis(
        "Wrong rationales",
        lambda cell: None if cell.rationale == "none" else cell.wrong_rationales,
        {False: "left out", True: "shown"},
    ),
    "train_rows": Axis("Train rows", lambda cell: cell.train_rows or None),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A step on an axis from level `low` to level `high`."""

    axis: str
    low: Level
    high: Level

    @property
    def name(self) -> str:
        """The change in words, such as `Rationale: STaR less first pass`."""
        axis = AXES[self.axis]
        return f"{axis.heading}: {axis.word(self.high)} less {axis.word(self.low)}"


Cells = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A change of one axis, or the interaction of two changes: what the second adds to the first.

    Each of `blocks` has the cells before and after: two cells that differ in the change alone, or four. For
    changes a to b and c to d the interaction is (bd + ac) - (bc + ad), the difference of two differences.
    """

    changes: tuple[Change, ...]
    blocks: tuple[tuple[Cells, Cells], ...]

    @property
    def is_interaction(self) -> bool:
        return len(self.changes) > 1

    @property
    def name(self) -> str:
        return " x ".join(change.name for change in self.changes)


def main_contrasts(grid: Sequence[Cell], declared: Contrasts | None = None) -> list[Contrast]:
    """Return the contrasts of the changes that are declared, or of all axes with several levels."""
    changes = dict.fromkeys(_changes(grid, declared))
    blocks = {change: tuple(((low,), (high,)) for low, high in _pairs(grid, change)) for change in changes}
    return [Contrast((change,), of_change) for change, of_change in blocks.items() if of_change]


def interactions(main: Sequence[Contrast]) -> list[Contrast]:
    """Return the interactions of each two changes of different axes."""
    crossed = (
        Contrast((*first.changes, *second.changes), tuple(_squares(first, second)))
        for first, second in combinations(main, 2)
        if first.changes[0].axis != second.changes[0].axis
    )
    return [each for each in crossed if each.blocks]


def _changes(grid: Sequence[Cell], declared: Contrasts | None) -> Iterator[Change]:
    for item in declared if isinstance(declared, list) else AXES:
        if isinstance(item, str):
            yield from (Change(item, *pair) for pair in combinations(_levels(grid, item), 2))
        else:
            yield from (Change(axis, low, high) for axis, (low, high) in item.items())


def _levels(grid: Sequence[Cell], axis: str) -> list[Level]:
    """Return the levels in an order in which a plain one comes first."""
    levels = dict.fromkeys(AXES[axis].level(cell) for cell in grid)
    return sorted((level for level in levels if level is not None), key=_rank)


def _rank(level: Level) -> int:
    if isinstance(level, str):
        return [*RATIONALES, level].index(level)
    return int(level)


def _pairs(grid: Sequence[Cell], change: Change) -> list[tuple[Cell, Cell]]:
    level = AXES[change.axis].level
    above = [cell for cell in grid if level(cell) == change.high]
    return [
        (cell, other)
        for cell in grid
        if level(cell) == change.low
        for other in above
        if _differ_only_in(change.axis, cell, other)
    ]


def _differ_only_in(name: str, cell: Cell, other: Cell) -> bool:
    """Compare all axes that concern both cells."""
    levels = ((axis.level(cell), axis.level(other)) for key, axis in AXES.items() if key != name)
    return cell.student == other.student and all(
        None in (level, of_other) or level == of_other for level, of_other in levels
    )


def _squares(first: Contrast, second: Contrast) -> Iterator[tuple[Cells, Cells]]:
    """Yield the cells (bc, ad) and (bd, ac) of each square that two changes span."""
    across = {pair for before, after in second.blocks for pair in [(*before, *after)]}
    sides = [(*before, *after) for before, after in first.blocks]
    for a_c, b_c in sides:
        for a_d, b_d in sides:
            if (a_c, a_d) in across and (b_c, b_d) in across:
                yield (b_c, a_d), (b_d, a_c)
