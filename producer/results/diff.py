"""Which keys of two experiments differ.

Two runs, row by row: what flipped, whether it is more than chance, and what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.core.errors import UsageError
from models.core.metrics.scores import SCORES
from models.core.metrics.significance import Effect, Floats, mcnemar, paired_effects
from producer.results.row_verdicts import LAST_PASS, CellVerdicts, RowKey, RowVerdict, read_verdicts
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Spending
from storage.ledger.queries import ResultRow, rows
from storage.ledger.runs import Run

ABSENT = None


def changed_keys(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Keys, such as `students.0.model`, with both values; None stands for a key that one side lacks."""
    before, after = dict(_flat("", first)), dict(_flat("", second))
    return {
        key: (before.get(key, ABSENT), after.get(key, ABSENT))
        for key in dict.fromkeys((*before, *after))
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    }


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Lists of mappings are taken apart by place, other lists are one value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(f"{key}.{name}" if key else name, part)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for place, part in enumerate(value):
            yield from _flat(f"{key}.{place}", part)
    else:
        yield key, value


EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Flip:
    """A row whose verdict changed, with what either run answered."""

    row: int
    question_id: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CellChange:
    """Of `n` rows that both runs answered, `before` and `after` percent are right; `lost` were right and are
    not any more, `gained` the reverse, some of which are shown. With several seeds a row is right where most
    of its answers are. `bleu4` is the difference in points, None where no scores are taken."""

    cell: CellVerdicts
    n: int
    before: float
    after: float
    lost: int
    gained: int
    p_value: float
    bleu4: Effect | None
    lost_examples: tuple[Flip, ...]
    gained_examples: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """`same_data`: the datasets are equal as a whole; else only rows that stand in both are compared.
    `only_first` and `only_second` are cells that the other run lacks. Spending is by stage: what either
    bought, and what all answers that it rests on are worth."""

    first: Run
    second: Run
    same_data: bool
    configuration: Mapping[str, tuple[Any, Any]]
    cells: tuple[CellChange, ...]
    only_first: tuple[CellVerdicts, ...]
    only_second: tuple[CellVerdicts, ...]
    bought: tuple[Mapping[str, Spending], Mapping[str, Spending]]
    answers: tuple[Mapping[str, Spending], Mapping[str, Spending]]


def diff_runs(db: Database, first: Run, second: Run, seed: int = 0) -> RunDiff:
    """Rows are matched by their place in the dataset and what stands there. Raises UsageError where no row is
    in both runs."""
    before, after = read_verdicts(db, first), read_verdicts(db, second)
    shared = [cell for cell in before if cell in after]
    changes = []
    for cell in shared:
        keys = [key for key in before[cell] if key in after[cell]]
        if keys:
            changes.append(_change(db, (first, second), cell, keys, before[cell], after[cell], seed))
    if not changes and _rows(before) and _rows(after) and not _rows(before) & _rows(after):
        raise UsageError(
            f"runs {first.id} and {second.id} are over other data: no row is in both; "
            "compare runs of one dataset"
        )
    return RunDiff(
        first, second, first.dataset == second.dataset,
        changed_keys(first.experiment.model_dump(mode="json"), second.experiment.model_dump(mode="json")),
        tuple(changes),
        tuple(cell for cell in before if cell not in after),
        tuple(cell for cell in after if cell not in before),
        (counts.spending_by_stage(db, first.id), counts.spending_by_stage(db, second.id)),
        (counts.answers_by_stage(db, first.id), counts.answers_by_stage(db, second.id)),
    )  # fmt: skip


def _rows(found: Mapping[CellVerdicts, Mapping[RowKey, RowVerdict]]) -> set[tuple[str, RowKey]]:
    return {(cell.split, key) for cell, of_cell in found.items() for key in of_cell}


def _change(
    db: Database,
    runs: tuple[Run, Run],
    cell: CellVerdicts,
    keys: Sequence[RowKey],
    before: Mapping[RowKey, RowVerdict],
    after: Mapping[RowKey, RowVerdict],
    seed: int,
) -> CellChange:
    was, now = (np.array([[of[key].right, of[key].answers] for key in keys]) for of in (before, after))
    right_before, right_after = 2 * was[:, 0] > was[:, 1], 2 * now[:, 0] > now[:, 1]
    lost = [key for key, flipped in zip(keys, right_before & ~right_after, strict=True) if flipped]
    gained = [key for key, flipped in zip(keys, right_after & ~right_before, strict=True) if flipped]
    shown = [*lost[:EXAMPLES], *gained[:EXAMPLES]]
    texts = [
        _texts(db, run, cell, [of[key].example for key in shown])
        for run, of in zip(runs, (before, after), strict=True)
    ]
    flips = [_flip(key, before[key], after[key], *texts) for key in shown]
    return CellChange(
        cell, len(keys), _share(was.sum(axis=0)), _share(now.sum(axis=0)), len(lost), len(gained),
        _p_value(was, now, len(lost), len(gained), seed), _bleu4(keys, before, after, seed),
        tuple(flips[: len(lost[:EXAMPLES])]), tuple(flips[len(lost[:EXAMPLES]) :]),
    )  # fmt: skip


def _share(sums: Any) -> float:
    return 100.0 * float(sums[0]) / float(sums[1])


def _shares(sums: Floats) -> Floats:
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1], dtype=np.float64)


def _p_value(was: Any, now: Any, lost: int, gained: int, seed: int) -> float:
    """McNemar's exact test where each row has one answer, else approximate randomization by row."""
    if was[:, 1].max() == now[:, 1].max() == 1:
        return mcnemar(lost, gained)
    return paired_effects(was, now, {"right": _shares}, seed)["right"].p_value


def _bleu4(
    keys: Sequence[RowKey], before: Mapping[RowKey, RowVerdict], after: Mapping[RowKey, RowVerdict], seed: int
) -> Effect | None:
    stats = [(before[key].stats, after[key].stats) for key in keys]
    first, second = [one for one, _ in stats if one is not None], [two for _, two in stats if two is not None]
    if len(first) < len(keys) or len(second) < len(keys):
        return None
    return paired_effects(np.array(first), np.array(second), {"bleu4": SCORES["bleu4"]}, seed)["bleu4"]


def _texts(db: Database, run: Run, cell: CellVerdicts, examples: Sequence[int]) -> dict[int, ResultRow]:
    """The unit that the verdict is of, by example; of several the first."""
    if not examples:
        return {}
    if cell.stage == "answer":
        stages: tuple[str, ...] = ("judge",)
    else:
        stages = ("rationale", "rationalize") if cell.variant == LAST_PASS else ("rationale",)
    found: dict[int, ResultRow] = {}
    for unit in rows(db, run.id, stages=stages, examples=examples):
        if cell.stage == "answer" and (unit.variant != cell.variant or unit.sample):
            continue
        if unit.variant == "sample" or (
            unit.example_id in found and found[unit.example_id].result.get("correct")
        ):
            continue
        found[unit.example_id] = unit
    return found


def _flip(
    key: RowKey,
    before: RowVerdict,
    after: RowVerdict,
    was: Mapping[int, ResultRow],
    now: Mapping[int, ResultRow],
) -> Flip:
    first, second = was[before.example], now[after.example]
    return Flip(key.row, before.question_id, first.reference, _answer(first), _answer(second))


def _answer(unit: ResultRow) -> str:
    found = unit.result.get("prediction") if unit.stage == "judge" else unit.result.get("answer")
    return found or str(unit.result.get("text") or "")
