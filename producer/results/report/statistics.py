"""Counts of the synthetic set and its cost, and the failure modes of texts by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from models.core.answers.checks import FAILURE_MODES, failure_modes
from models.core.pipeline.grid import Cell, cells
from models.core.pipeline.rounds import SAMPLES, pass_of
from producer.results.report.samples import printable
from producer.results.synthetic_set import SyntheticExample, synthetic_examples
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Funnel
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TRAIN


@dataclass(frozen=True, slots=True)
class Pass:
    """A rationalization pass: how many examples without a right rationale were tried with the answer as a
    hint, and how many became correct."""

    number: int
    tried: int
    correct: int


@dataclass(frozen=True, slots=True)
class Round:
    """A round of STaR: how many of the `rationales` were right at the first pass, and after all passes."""

    number: int
    rationales: int
    first_pass_correct: int
    correct: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of train examples; `failed`, `rejected`, calls, tokens and cost are of the whole run.

    With several `rounds`, `rationales`, `first_pass_correct` and `passes` are of the first. `still_wrong`
    examples have rationales, but no right one. `wrong_form` counts rationales that were kept as wrong, by
    what their form lacks. Means are None if there is nothing to count.
    """

    failed: dict[str, int]
    rejected: dict[str, int]
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    examples: int = 0
    augmented: int = 0
    retrieved: int = 0
    rationales: int = 0
    first_pass_correct: int = 0
    passes: tuple[Pass, ...] = ()
    accepted: int = 0
    still_wrong: int = 0
    hint_leaks: int = 0
    wrong_form: dict[str, int] = field(default_factory=dict)
    words_per_augmentation: float | None = None
    words_per_rationale: float | None = None
    rounds: tuple[Round, ...] = ()


def read_totals(db: Database, run: Run) -> Statistics:
    """Read what is counted for a run of any pipeline."""
    paid = counts.spending(db, run.id)
    return Statistics(
        failed=counts.failure_reasons(db, run.id),
        rejected=counts.rejection_reasons(db, run.id),
        calls=paid.calls,
        prompt_tokens=paid.usage.prompt,
        cached_tokens=paid.usage.cached,
        completion_tokens=paid.usage.completion,
        cost_usd=paid.dollars,
    )


def read_statistics(db: Database, run: Run, funnel: Funnel) -> Statistics:
    """Count in one pass over the train examples."""
    tally = _StatisticsTally()
    for example in synthetic_examples(db, run):
        tally.add(example)
    seen = tally.seen
    passes = range(1, run.experiment.rationale.passes + 1)
    return replace(
        read_totals(db, run),
        examples=_examples(run, funnel),
        augmented=seen["augmented"],
        retrieved=seen["retrieved"],
        rationales=seen["tried", 1, 0],
        first_pass_correct=seen["correct", 1, 0],
        passes=tuple(Pass(number, seen["tried", 1, number], seen["correct", 1, number]) for number in passes),
        accepted=seen["first_pass"] + seen["star"],
        still_wrong=seen["wrong"],
        hint_leaks=seen["leak"],
        wrong_form=dict(tally.forms.most_common()),
        words_per_augmentation=_mean(tally.words["augmentation"], seen["augmented"]),
        words_per_rationale=_mean(tally.words["rationale"], seen["final"]),
        rounds=tuple(
            Round(number, seen["tried", number, 0], seen["correct", number, 0], seen["right", number, 0])
            for number in range(1, run.experiment.rationale.rounds + 1)
        ),
    )


def _examples(run: Run, funnel: Funnel) -> int:
    """Count the train examples: all of them have the units of the first stage."""
    slots = run.slots[TRAIN]
    alike = [slot for slot in slots if (slot.stage, slot.variant) == (slots[0].stage, slots[0].variant)]
    if not alike:
        return 0
    planned = funnel.rows.get((TRAIN, alike[0].stage, alike[0].variant), Counter())
    return planned.total() // len(alike)


class _StatisticsTally:
    def __init__(self) -> None:
        self.seen: Counter[str | tuple[str, int, int]] = Counter()
        self.forms: Counter[str] = Counter()
        self.words: Counter[str] = Counter()

    def add(self, example: SyntheticExample) -> None:
        if example.augment and example.augment.result.get("augmentation"):
            self.seen["augmented"] += 1
            self.words["augmentation"] += _words(example.augment.result.get("augmentation"))
        self.seen["retrieved"] += example.retrieve is not None
        for number, rationales in enumerate(example.rounds, 1):
            self._add_round(number, rationales)
        if example.final and example.source:
            self.seen["final"] += 1
            self.seen[example.source] += 1
            self.words["rationale"] += _words(example.final.result.get("text"))

    def _add_round(self, round_number: int, rationales: Sequence[ResultRow]) -> None:
        wrong = True
        for rationale in rationales:
            number, right = pass_of(rationale.variant), bool(rationale.result["correct"])
            self.seen["tried", round_number, number] += wrong
            self.seen["correct", round_number, number] += wrong and right
            wrong = wrong and not right
            self.seen["leak"] += bool(rationale.result.get("hint_leak"))
            if form := rationale.result.get("form"):
                self.forms[form] += 1
        self.seen["right", round_number, 0] += not wrong


def _words(text: str | None) -> int:
    return len((text or "").split())


def _mean(total: int, number: int) -> float | None:
    return total / number if number else None


STAGES = ("rationale", "rationalize", "answer")
EXAMPLES = 2
# Characters of an example from its start and from its end.
START, END = 200, 100
# A student without worked examples does not know the sentence; no student knows a hint.
_ANSWER_SENTENCE = frozenset({"no_answer_sentence", "truncation"})


@dataclass(frozen=True, slots=True)
class FailureExample:
    """The start and the end of a text that shows a failure mode."""

    question_id: str
    variant: str
    text: str


@dataclass(frozen=True, slots=True)
class StageFailures:
    """`failing` of a stage's `texts` show at least one of FAILURE_MODES; `modes` counts the texts of each.
    `rejected` counts answers that were not accepted, by reason."""

    stage: str
    texts: int
    failing: int
    modes: dict[str, int]
    rejected: dict[str, int]
    examples: dict[str, tuple[FailureExample, ...]]


@dataclass(slots=True)
class _FailureTally:
    texts: int = 0
    failing: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[FailureExample]] = field(default_factory=dict)

    def add(self, unit: ResultRow, modes: list[str]) -> None:
        self.texts += 1
        self.failing += bool(modes)
        self.modes.update(modes)
        for mode in modes:
            shown = self.examples.setdefault(mode, [])
            if len(shown) < EXAMPLES:
                shown.append(
                    FailureExample(unit.question_id, unit.variant, one_line_excerpt(unit.result["text"]))
                )


def read_failures(db: Database, run: Run) -> tuple[StageFailures, ...]:
    """Return the stages that have a text or a rejection, in their order."""
    grid = {cell.name: cell for cell in cells(run.experiment)}
    tallies = {stage: _FailureTally() for stage in STAGES}
    for unit in _texts(db, run):
        modes = _answer_modes(unit, grid[unit.variant]) if unit.stage == "answer" else _rationale_modes(unit)
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


def one_line_excerpt(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= START + END else f"{line[:START]} ... {line[-END:]}"


def _texts(db: Database, run: Run) -> Iterator[ResultRow]:
    """Read the units with a text, without the samples of a vote: only the elected rationale counts."""
    units = iter_rows(db, run.id, stages=STAGES)
    return (
        unit for unit in units if unit.variant not in SAMPLES and isinstance(unit.result.get("text"), str)
    )


def _rationale_modes(unit: ResultRow) -> list[str]:
    return failure_modes(unit.result["text"], unit.result.get("query") or unit.request)


def _answer_modes(unit: ResultRow, cell: Cell) -> list[str]:
    ignored = {"hint_leak"} | (_ANSWER_SENTENCE if cell.shots == 0 else set())
    modes = {mode for mode in failure_modes(unit.result["text"], unit.request) if mode not in ignored}
    if unit.result.get("truncated"):
        modes.add("truncation")
    return [mode for mode in FAILURE_MODES if mode in modes]
