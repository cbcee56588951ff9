"""Strata of rows that no column of the data names: what the answer needs, and what was found for it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from models.core.pipeline.grid import Searches, cells
from models.core.retrieval.passage_selection import hits_from_records, shown_hits
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN


class Strata:
    """The strata of the rows of one run. Memory grows by the ids of right passages that train rows name, and
    a few bytes a test row; only the wanted `names` are read."""

    def __init__(self, db: Database, run: Run, names: Collection[str]) -> None:
        self._names = names
        wants = set(names)
        self._seen: frozenset[str] = frozenset()
        if "unseen" in wants:
            self._seen = frozenset(id_ for row in examples(db, run.id, TRAIN) for id_ in row.oracle)
        lengths = []
        if "reference_length" in wants:
            lengths = [len(row.reference) for row in examples(db, run.id, TEST) if row.reference]
        self._ends = [int(end) for end in np.quantile(lengths, (1 / 3, 2 / 3))] if lengths else []
        self._retrieved = _retrieved(db, run) if "passage_retrieved" in wants else {}

    def of(self, unit: ResultRow) -> dict[str, str]:
        """Return the strata of the unit's row by name, without those that are not known of it."""
        known = {}
        if unit.oracle:
            known["library"] = " + ".join(sorted({id_.partition(".")[0] for id_ in unit.oracle}))
        if unit.oracle and unit.split == TEST:
            known["unseen"] = "all seen in train" if self._seen.issuperset(unit.oracle) else "unseen function"
        if unit.reference and self._ends:
            known["reference_length"] = self._length(len(unit.reference))
        if (right := self._retrieved.get(unit.example_id)) is not None and unit.split == TEST:
            known["passage_retrieved"] = "right one shown" if right else "none right"
        return {name: value for name, value in known.items() if name in self._names}

    def _length(self, characters: int) -> str:
        """Return the tercile of the test split's references that this length is in."""
        first, second = self._ends
        if characters <= first:
            return f"1: up to {first} characters"
        middle = f"{first + 1} to {second}" if second > first + 1 else str(second)
        return f"2: {middle}" if characters <= second else f"3: above {second}"


def _retrieved(db: Database, run: Run) -> dict[int, bool]:
    """Tell of each test row with known passages if a right one is shown in the first cell that retrieves."""
    cell = next((cell for cell in cells(run.experiment) if cell.retrieval), None)
    if cell is None:
        return {}
    searches = Searches.read(run.experiment.passages)
    variant, config = searches.unit_name(cell.wording, cell.retrieval), searches.choices[cell.retrieval]
    return {
        unit.example_id: any(
            hit.passage.id in unit.oracle
            for hit in shown_hits(hits_from_records(unit.result["passages"]), config)
        )
        for unit in iter_rows(db, run.id, stages=("retrieve",), split=TEST)
        if unit.oracle and unit.variant == variant
    }
