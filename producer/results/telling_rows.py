"""The rows of a run of `star` that show most: hints that repaired a rationale, passages that repaired an
answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rapidfuzz import fuzz

from models.core.experiment.passages import BASE
from models.core.pipeline.grid import Cell, cells
from models.core.retrieval.passage_selection import cut_passage, hits_from_records
from producer.results.row_verdicts import is_right
from producer.results.synthetic_set import synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST


@dataclass(frozen=True, slots=True)
class TellingRow:
    """A row that is wrong `before` and right `after` it is shown what `helped`, a hint or a passage."""

    question_id: str
    request: str
    before: str
    helped: Literal["hint", "passage"]
    shown: str
    after: str


def telling_rows(db: Database, run: Run, hints: int = 2, passages: int = 1) -> list[TellingRow]:
    """Return so many rows of each kind, fewer if there are no more: those whose two texts are most alike."""
    return [*_most_alike(_by_hints(db, run), hints), *_most_alike(_by_passages(db, run), passages)]


def _most_alike(rows: Iterator[TellingRow], number: int) -> list[TellingRow]:
    return sorted(rows, key=lambda row: -fuzz.ratio(row.before, row.after))[:number]


def _by_hints(db: Database, run: Run) -> Iterator[TellingRow]:
    for example in synthetic_examples(db, run):
        if example.source == "star" and (final := example.final):
            before, after = (row.result["text"] for row in (example.rationales[0], final))
            yield TellingRow(final.question_id, final.request, before, "hint", final.reference, after)


def _by_passages(db: Database, run: Run) -> Iterator[TellingRow]:
    """Yield answers that are right in a cell with documentation, and wrong in the same cell without."""
    names = {
        cell.name: replace(cell, retrieval=BASE).name for cell in cells(run.experiment) if _is_bare(cell)
    }
    settings = run.experiment.passages
    judged: dict[tuple[int, str], ResultRow] = {}
    best: dict[int, str] = {}
    for row in iter_rows(db, run.id, stages=("retrieve", "judge"), split=TEST):
        if row.stage == "judge":
            judged[row.example_id, row.variant] = row
        elif settings and (hits := hits_from_records(row.result.get("passages", ()))):
            shown_passage = cut_passage(hits[0].passage, settings)
            best[row.example_id] = f"{shown_passage.name}: {shown_passage.text}"
    for (example, cell), bare in judged.items():
        shown = judged.get((example, names.get(cell, "")))
        if shown and is_right(shown) and not is_right(bare) and example in best:
            before, after = bare.result["prediction"], shown.result["prediction"]
            yield TellingRow(bare.question_id, bare.request, before, "passage", best[example], after)


def _is_bare(cell: Cell) -> bool:
    """Return whether the cell shows worked examples, without which a small model writes at will, and no
    passage."""
    return bool(cell.shots) and not cell.retrieval
