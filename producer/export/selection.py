"""Which rows of a run are exported, and what they look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import UsageError
from producer.export.answers import ANSWER, answer_rows
from producer.export.failures import FAILURE, failure_rows
from producer.export.generations import generation_rows
from producer.export.shapes import Shape
from producer.export.synthetic import CHAT, SYNTHETIC, as_chat, as_row, synthetic_rows
from storage.database import Database
from storage.ledger.planning import Run

What = Literal["synthetic", "answers", "failures", "generations"]
Style = Literal["raw", "chat"]


@dataclass(frozen=True, slots=True)
class Selection:
    """`accepted` keeps synthetic examples with a right rationale only. Raises UsageError where `style`
    or `accepted` is asked of other rows than synthetic ones, or a format other than jsonl of generations,
    whose requests have no columns."""

    what: What = "synthetic"
    style: Style = "raw"
    accepted: bool = False
    format: str = "jsonl"

    def __post_init__(self) -> None:
        if self.what != "synthetic" and (self.accepted or self.style != "raw"):
            option = "--only accepted" if self.accepted else f"--style {self.style}"
            raise UsageError(f"{option} is for synthetic data: leave it out, or --what {self.what}")
        if self.what == "generations" and self.format != "jsonl":
            raise UsageError(f"--format {self.format} has no columns for generations: take --format jsonl")

    @property
    def shape(self) -> Shape:
        return CHAT if self.style == "chat" else _SHAPES.get(self.what, {})


def select_rows(db: Database, run: Run, selection: Selection) -> Iterator[dict[str, Any]]:
    """JSON values of the selection's shape, in the order of the dataset, in bounded memory."""
    if selection.what == "synthetic":
        make = as_chat if selection.style == "chat" else as_row
        return synthetic_rows(db, run, make, accepted=selection.accepted)
    return _ROWS[selection.what](db, run)


# Of rows with columns.
_SHAPES: Mapping[What, Shape] = {"synthetic": SYNTHETIC, "answers": ANSWER, "failures": FAILURE}
_ROWS: Mapping[What, Callable[[Database, Run], Iterator[dict[str, Any]]]] = {
    "answers": answer_rows,
    "failures": failure_rows,
    "generations": generation_rows,
}
