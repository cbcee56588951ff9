"""The sets that filters look at: what a run has made, and the train split of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from models.quality import Candidate
from models.retrieval.words import question_of
from models.types import Example
from producer.synthetic import SyntheticExample, synthetic_examples
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.planning import Run
from storage.ledger.rows import Row
from storage.schema import TEST, TRAIN


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the set: `number` is its train row, `unit` the unit of its rationale, 0 where there is none.
    `right` says that its rationale is correct; a row of a dataset always is."""

    candidate: Candidate
    number: int
    question_id: str
    unit: int = 0
    right: bool = True


class Rows(Protocol):
    """Read anew at each iteration: its rows need no memory."""

    def __iter__(self) -> Iterator[Listed]: ...

    def test(self) -> Iterator[Example]:
        """The test split that no row should repeat."""


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """The rows that `starmill export` writes. Right rows come first, so that of rows that are alike a wrong
    one never stands for a right one, and a right row is marked or not whether or not wrong ones are asked
    for."""

    db: Database
    run: Run
    accepted: bool = False

    def __iter__(self) -> Iterator[Listed]:
        for example in synthetic_examples(self.db, self.run):
            for rationale in example.right:
                yield _listed(example, rationale)
        if self.accepted:
            return
        for example in synthetic_examples(self.db, self.run):
            if example.final and not example.right:
                yield _listed(example, example.final)

    def test(self) -> Iterator[Example]:
        return examples(self.db, self.run.id, TEST)


@dataclass(frozen=True, slots=True)
class DatasetSet:
    """Train requests with their references."""

    splits: Mapping[str, Iterable[Example]]

    def __iter__(self) -> Iterator[Listed]:
        for row in self.splits[TRAIN]:
            question = question_of(row.question_id, row.row)
            yield Listed(Candidate(row.request, row.reference, question=question), row.row, row.question_id)

    def test(self) -> Iterator[Example]:
        return iter(self.splits[TEST])


def _listed(example: SyntheticExample, rationale: Row) -> Listed:
    augmented = example.augment.result.get("augmentation") if example.augment else None
    votes = rationale.result.get("votes")
    return Listed(
        Candidate(
            request=rationale.request,
            code=rationale.result.get("answer") or "",
            rationale=rationale.result["text"],
            augmentation=augmented or "",
            question=question_of(rationale.question_id, rationale.number),
            agreement=votes["winner"] / votes["samples"] if votes else None,
            leaks=bool(rationale.result.get("hint_leak")),
        ),
        rationale.number,
        rationale.question_id,
        rationale.unit_id,
        bool(rationale.result["correct"]),
    )
