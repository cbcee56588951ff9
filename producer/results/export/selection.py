"""The selection of exported rows, and their form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from models.core.errors import UsageError
from producer.results.export.answer_rows import ANSWER, FAILURE, answer_rows, failure_rows, generation_rows
from producer.results.export.columns import Shape, of_run
from producer.results.export.step_pairs import pair_rows
from producer.results.export.step_rows import step_rows
from producer.results.export.synthetic_rows import (
    CHAT,
    PAIR,
    SYNTHETIC,
    as_chat,
    as_pair,
    as_row,
    choose_pairs,
    choose_rationales,
    synthetic_rows,
)
from producer.results.export.training_texts import Shown, TrainingTexts, check_shown
from producer.results.quality import LeftOut, find_left_out
from storage.database import Database
from storage.ledger.runs import Run

NOTHING = LeftOut()
RowKind = Literal["synthetic", "answers", "rows", "pairs", "failures", "generations"]
# The rows of the pipeline star and of pipelines of steps, beside those of every run.
OF_STAR: tuple[RowKind, ...] = ("synthetic", "answers", "pairs")
OF_STEPS: tuple[RowKind, ...] = ("rows", "pairs")
Style = Literal["raw", "chat"]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """The rows that an export writes.

    `accepted` keeps synthetic examples with a right rationale only, and the rows of a pipeline of steps that
    `is_accepted` accepts. `filters` leave out the rows that they mark; None means the experiment's own
    filters if `accepted`. Raise UsageError if these or `style` are given for rows that they do not suit, or
    another format than jsonl for generations, which have no columns. `reasoning` adds what models thought
    aloud to rows and answers; generations have it. `shown` are parts of prompts for training that are left
    out otherwise.
    """

    what: RowKind = "synthetic"
    style: Style = "raw"
    accepted: bool = False
    format: str = "jsonl"
    filters: tuple[str, ...] | None = None
    left_out: LeftOut = NOTHING
    reasoning: bool = False
    shown: frozenset[Shown] = frozenset()

    def __post_init__(self) -> None:
        if self.what != "synthetic" and (self.style != "raw" or self.filters is not None):
            option = f"--style {self.style}" if self.style != "raw" else "--filter"
            raise UsageError(f"{option} is for synthetic data: leave it out, or --what {self.what}")
        if self.accepted and self.what not in ("synthetic", "rows"):
            raise UsageError(
                f"--only accepted is for synthetic data and rows: leave it out, or --what {self.what}"
            )
        if self.reasoning and self.what == "failures":
            raise UsageError(f"--reasoning is for answers that were accepted: leave it out for {self.what}")
        if self.what == "generations" and self.format != "jsonl":
            raise UsageError(f"--format {self.format} has no columns for generations: take --format jsonl")

    def check_run(self, run: Run) -> None:
        """Raise UsageError if a run of this pipeline has no such rows, or not in this format."""
        kinds = (*(OF_STEPS if run.experiment.steps else OF_STAR), "failures", "generations")
        if self.what not in kinds:
            raise UsageError(f"--what {self.what}: run {run.id} has no such rows; it has {', '.join(kinds)}")
        if self.shown and (run.experiment.steps or self.what not in ("synthetic", "pairs")):
            raise UsageError("--with is for prompts of synthetic data and its pairs; leave it out")
        check_shown(run, self.shown)

    def has_columns_of_data(self, run: Run) -> bool:
        """True if the rows have columns that their shape does not know."""
        synthetic = self.what in ("synthetic", "pairs") and run.experiment.data is not None
        return synthetic or self.is_of_steps(run)

    def is_of_steps(self, run: Run) -> bool:
        """True if all columns of the rows are those of the data and of steps, which may have any name."""
        return bool(run.experiment.steps) and self.what in OF_STEPS

    def shape(self, run: Run) -> Shape:
        if self.is_of_steps(run):
            return {}
        shape = CHAT if self.style == "chat" else _SHAPES.get(self.what, {})
        shape = of_run(run, shape) if self.what in OF_STAR else shape
        if not self.reasoning or not shape:
            return shape
        thoughts = ("reasoning", "rejected_reasoning") if self.what == "pairs" else ("reasoning",)
        return shape | dict.fromkeys(thoughts, str)


def apply_filters(db: Database, run: Run, selection: RowSelection) -> RowSelection:
    """Return the selection without the rows that its filters mark."""
    names = selection.filters
    if selection.what != "synthetic":
        return selection
    if names is None:
        names = run.experiment.quality.heeded if selection.accepted else ()
    if not names:
        return selection
    return replace(selection, left_out=find_left_out(db, run, names, accepted=selection.accepted))


def select_rows(db: Database, run: Run, selection: RowSelection) -> Iterator[dict[str, Any]]:
    """Yield JSON values of the selection's shape, in the order of the dataset, in bounded memory."""
    texts = TrainingTexts(run, selection.shown)
    if selection.what == "synthetic":
        chosen = choose_rationales(db, run, accepted=selection.accepted, without=selection.left_out.units)
        make = as_chat if selection.style == "chat" else as_row
        return synthetic_rows(db, run, chosen, make, texts, reasoning=selection.reasoning)
    if selection.what == "pairs":
        if run.experiment.steps:
            return pair_rows(db, run, reasoning=selection.reasoning)
        return synthetic_rows(db, run, choose_pairs(db, run), as_pair, texts, reasoning=selection.reasoning)
    if selection.what == "answers":
        return answer_rows(db, run, reasoning=selection.reasoning)
    if selection.what == "rows":
        return step_rows(db, run, accepted=selection.accepted, reasoning=selection.reasoning)
    return _ROWS[selection.what](db, run)


_SHAPES: Mapping[RowKind, Shape] = {
    "synthetic": SYNTHETIC, "answers": ANSWER, "pairs": PAIR, "failures": FAILURE,
}  # fmt: skip
_ROWS: Mapping[RowKind, Callable[[Database, Run], Iterator[dict[str, Any]]]] = {
    "failures": failure_rows,
    "generations": generation_rows,
}
