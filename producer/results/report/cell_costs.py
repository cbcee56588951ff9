"""The cost of the answers of each cell, and of the rationales that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.core.experiment.axes import RationaleSource
from models.core.pipeline.grid import cells
from models.core.pipeline.rounds import SAMPLE, in_round, round_of
from storage.database import Database
from storage.ledger.answer_costs import AnswerCosts, answer_costs
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN

Costs = Mapping[tuple[str, str, str], AnswerCosts]


@dataclass(frozen=True, slots=True)
class CellCost:
    """The cost of an answer of the cell, with the augmentation of its request if the cell asks for one:
    `prompt_tokens`, `completion_tokens` and dollars of a thousand answers. `teacher_usd` was paid once for
    the rationales that the cell draws from."""

    variant: str
    answers: int
    prompt_tokens: float
    completion_tokens: float
    usd_per_1000: float
    teacher_usd: float

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.completion_tokens


def read_cell_costs(db: Database, run: Run) -> tuple[CellCost, ...]:
    """Return the cells with an answer, in their order."""
    costs = answer_costs(db, run.id)
    augmentations = [costs[TEST, "augment", ""]] if (TEST, "augment", "") in costs else []
    return tuple(
        _cost(
            cell.name,
            [own, *(augmentations if cell.augment_test else [])],
            _teacher_usd(costs, cell.rationale),
        )
        for cell in cells(run.experiment)
        if (own := costs.get((TEST, "answer", cell.name)))
    )


def _cost(variant: str, parts: list[AnswerCosts], teacher_usd: float) -> CellCost:
    prompt = sum(part.prompt_tokens / part.answers for part in parts)
    completion = sum(part.completion_tokens / part.answers for part in parts)
    dollars = sum(part.cost_nano_usd / part.answers for part in parts) / 1e6
    return CellCost(variant, parts[0].answers, prompt, completion, dollars, teacher_usd)


def _teacher_usd(costs: Costs, source: RationaleSource) -> float:
    """Sum up augmentations and rationales of train rows, of `first_pass` those of the first pass alone."""
    if source == "none":
        return 0.0
    first = {("augment", ""), ("rationale", ""), ("rationale", SAMPLE)}
    return sum(
        cost.cost_nano_usd
        for (split, stage, variant), cost in costs.items()
        if split == TRAIN and (source == "star" or (stage, variant) in first)
        if not _is_vote(costs, stage, variant)
    ) / 1e9  # fmt: skip


def _is_vote(costs: Costs, stage: str, variant: str) -> bool:
    """A vote names the call of the sample that it elects, which counts already."""
    number = round_of(variant)
    samples = (TRAIN, stage, in_round(number, SAMPLE))
    return stage == "rationale" and variant == in_round(number) and samples in costs
