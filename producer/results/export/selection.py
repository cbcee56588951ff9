"""The selection of exported rows, and their form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from models.core.errors import UsageError
from producer.results.export.answer_rows import ANSWER, FAILURE, answer_rows, failure_rows, generation_rows
from producer.results.export.columns import Shape
from producer.results.export.synthetic_rows import CHAT, SYNTHETIC, as_chat, as_row, synthetic_rows
from producer.results.quality import LeftOut, find_left_out
from storage.database import Database
from storage.ledger.runs import Run

NOTHING = LeftOut()
RowKind = Literal["synthetic", "answers", "failures", "generations"]
Style = Literal["raw", "chat"]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """The rows that an export writes.

    `accepted` keeps synthetic examples with a right rationale only. `filters` leave out the rows that they
    mark; None means the experiment's own filters if `accepted`. Raise UsageError if these or `style` are
    given for other rows than synthetic ones, or another format than jsonl for generations, which have no
    columns. `reasoning` adds what models thought aloud to synthetic rows and answers; generations have it.
    """

    what: RowKind = "synthetic"
    style: Style = "raw"
    accepted: bool = False
    format: str = "jsonl"
    filters: tuple[str, ...] | None = None
    left_out: LeftOut = NOTHING
    reasoning: bool = False

    def __post_init__(self) -> None:
        if self.what != "synthetic" and (self.accepted or self.style != "raw" or self.filters is not None):
            style = f"--style {self.style}" if self.style != "raw" else "--filter"
            option = "--only accepted" if self.accepted else style
            raise UsageError(f"{option} is for synthetic data: leave it out, or --what {self.what}")
        if self.reasoning and self.what == "failures":
            raise UsageError("--reasoning is for answers that were accepted: leave it out for failures")
        if self.what == "generations" and self.format != "jsonl":
            raise UsageError(f"--format {self.format} has no columns for generations: take --format jsonl")

    @property
    def shape(self) -> Shape:
        shape = CHAT if self.style == "chat" else _SHAPES.get(self.what, {})
        return {**shape, "reasoning": str} if self.reasoning and shape else shape


def apply_filters(db: Database, run: Run, selection: RowSelection) -> RowSelection:
    """Return the selection without the rows that its filters mark."""
    names = selection.filters
    if names is None:
        names = run.experiment.quality.heeded if selection.accepted else ()
    if not names:
        return selection
    return replace(selection, left_out=find_left_out(db, run, names, accepted=selection.accepted))


def select_rows(db: Database, run: Run, selection: RowSelection) -> Iterator[dict[str, Any]]:
    """Yield JSON values of the selection's shape, in the order of the dataset, in bounded memory."""
    if selection.what == "synthetic":
        make = as_chat if selection.style == "chat" else as_row
        return synthetic_rows(
            db, run, make, accepted=selection.accepted, without=selection.left_out.units,
            reasoning=selection.reasoning,
        )  # fmt: skip
    if selection.what == "answers":
        return answer_rows(db, run, reasoning=selection.reasoning)
    return _ROWS[selection.what](db, run)


_SHAPES: Mapping[RowKind, Shape] = {"synthetic": SYNTHETIC, "answers": ANSWER, "failures": FAILURE}
_ROWS: Mapping[RowKind, Callable[[Database, Run], Iterator[dict[str, Any]]]] = {
    "failures": failure_rows,
    "generations": generation_rows,
}
