"""How good the documentation was that students were shown, where the dataset knows which is right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from models.ablation import Cell, cells
from models.retrieval.forms import line, present
from models.retrieval.records import hits_of
from models.retrieval.searches import Searches
from models.retrieval.selection import CHARACTERS_PER_TOKEN, select
from models.retrieval.settings import Passages
from models.types import Hit
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import rows
from storage.schema import TEST


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one way to retrieve, over the test `rows` whose right passages are known: `right` of the `shown`
    passages are among them, and `missed` rows are shown none of them. `tokens` is what a row is shown on
    average, a token counted as four characters."""

    retrieval: str
    augment_test: bool
    rows: int
    shown: int
    right: int
    missed: int
    tokens: float

    @property
    def precision(self) -> float | None:
        """Percent; None where nothing is shown."""
        return 100 * self.right / self.shown if self.shown else None

    @property
    def miss_rate(self) -> float:
        """Percent of the rows."""
        return 100 * self.missed / self.rows


def retrieval_qualities(db: Database, run: Run) -> tuple[Quality, ...]:
    """In the order of the grid, counted from what was recorded; empty where no right passage is known."""
    searches = Searches.read(run.experiment.passages)
    tallies = [_Tally(cell, searches.choices[cell.retrieval]) for cell in _ways(cells(run.experiment))]
    of_unit: dict[str, list[_Tally]] = defaultdict(list)
    for tally in tallies:
        of_unit[searches.variant(tally.cell.query, tally.cell.retrieval)].append(tally)
    for unit in rows(db, run.id, stages=("retrieve",), split=TEST):
        if unit.oracle and unit.variant in of_unit:
            hits = hits_of(unit.result["passages"])
            for tally in of_unit[unit.variant]:
                tally.add(hits, unit.oracle)
    return tuple(tally.quality() for tally in tallies if tally.rows)


def _ways(grid: Sequence[Cell]) -> list[Cell]:
    """A cell for each retrieval and wording, in the order of the grid."""
    first: dict[tuple[str, bool], Cell] = {}
    for cell in grid:
        if cell.retrieval:
            first.setdefault((cell.retrieval, cell.augment_test), cell)
    return list(first.values())


@dataclass(slots=True)
class _Tally:
    cell: Cell
    config: Passages
    rows: int = 0
    shown: int = 0
    right: int = 0
    missed: int = 0
    characters: int = 0

    def add(self, hits: Sequence[Hit], oracle: Sequence[str]) -> None:
        chosen = [hit.passage for hit in select(hits, self.config)]
        right = sum(passage.id in oracle for passage in chosen)
        self.rows += 1
        self.shown += len(chosen)
        self.right += right
        self.missed += not right
        self.characters += sum(len(line(passage)) for passage in present(chosen, self.config))

    def quality(self) -> Quality:
        tokens = self.characters / CHARACTERS_PER_TOKEN / self.rows
        return Quality(
            self.cell.retrieval_word, self.cell.augment_test, self.rows, self.shown, self.right, self.missed,
            tokens,
        )  # fmt: skip
