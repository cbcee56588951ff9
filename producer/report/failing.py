"""How texts failed, stage by stage: what was kept and is bad, and what was not accepted at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.ablation import Cell, cells
from models.answers.failure_modes import FAILURE_MODES, failure_modes
from models.rounds import SAMPLES
from storage.database import Database
from storage.ledger import counts
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows

STAGES = ("rationale", "rationalize", "answer")
EXAMPLES = 2
# Characters of an example: so many from its start, so many from its end.
START, END = 200, 100
# A student without worked examples was not told of the sentence; none was told of a hint.
_OF_SENTENCE = frozenset({"no_answer_sentence", "truncation"})


@dataclass(frozen=True, slots=True)
class Example:
    """The start and the end of a text that shows a failure mode, and whose it is."""

    question_id: str
    variant: str
    text: str


@dataclass(frozen=True, slots=True)
class StageFailures:
    """Of a stage's `texts` so many show each of FAILURE_MODES; a text may show several, `failing` at least
    one. `rejected` counts answers that were not accepted, by reason."""

    stage: str
    texts: int
    failing: int
    modes: dict[str, int]
    rejected: dict[str, int]
    examples: dict[str, tuple[Example, ...]]


@dataclass(slots=True)
class _Tally:
    texts: int = 0
    failing: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, unit: Row, modes: list[str]) -> None:
        self.texts += 1
        self.failing += bool(modes)
        self.modes.update(modes)
        for mode in modes:
            shown = self.examples.setdefault(mode, [])
            if len(shown) < EXAMPLES:
                shown.append(Example(unit.question_id, unit.variant, excerpt(unit.result["text"])))


def stage_failures(db: Database, run: Run) -> tuple[StageFailures, ...]:
    """Stages that have a text or a rejection, in their order."""
    grid = {cell.variant: cell for cell in cells(run.experiment)}
    tallies = {stage: _Tally() for stage in STAGES}
    for unit in _texts(db, run):
        modes = _of_answer(unit, grid[unit.variant]) if unit.stage == "answer" else _of_rationale(unit)
        tallies[unit.stage].add(unit, modes)
    rejected = counts.rejections_by_stage(db, run.id)
    return tuple(
        StageFailures(
            stage,
            tally.texts,
            tally.failing,
            {mode: tally.modes[mode] for mode in FAILURE_MODES if tally.modes[mode]},
            rejected.get(stage, {}),
            {mode: tuple(tally.examples[mode]) for mode in FAILURE_MODES if mode in tally.examples},
        )
        for stage, tally in tallies.items()
        if tally.texts or rejected.get(stage)
    )


def excerpt(text: str) -> str:
    """One printable line."""
    folded = " ".join(text.split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in folded)
    return line if len(line) <= START + END else f"{line[:START]} ... {line[-END:]}"


def _texts(db: Database, run: Run) -> Iterator[Row]:
    """Of rationales that were voted on, only what they elected counts."""
    found = rows(db, run.id, stages=STAGES)
    return (
        unit for unit in found if unit.variant not in SAMPLES and isinstance(unit.result.get("text"), str)
    )


def _of_rationale(unit: Row) -> list[str]:
    return failure_modes(unit.result["text"], unit.result.get("query") or unit.request)


def _of_answer(unit: Row, cell: Cell) -> list[str]:
    ignored = {"hint_leak"} | (_OF_SENTENCE if cell.shots == 0 else set())
    found = {mode for mode in failure_modes(unit.result["text"], unit.request) if mode not in ignored}
    if unit.result.get("truncated"):
        found.add("truncation")
    return [mode for mode in FAILURE_MODES if mode in found]
