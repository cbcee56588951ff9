"""Agreement of the rules and steps that judge the same answers, and of repeated answers to the same row."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from models.core.correctness import same_answer
from models.core.experiment.experiment import Judge
from models.core.metrics.agreement import (
    alpha_interval,
    cohen_kappa,
    kappa_interval,
    krippendorff_alpha,
    pair_disagreement,
)
from models.core.metrics.significance import Interval
from models.core.pipeline.grid import cells
from producer.results.differences import MIN_QUESTIONS, MIN_ROWS, TOO_FEW
from producer.results.report.table_parts import NOTHING, Section, section_of_texts, share
from producer.results.row_verdicts import execution_outcome, is_right
from storage.database import Database
from storage.ledger.examples import question_labels
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST

INTERVAL = "95 % interval"


@dataclass(frozen=True, slots=True)
class RuleAgreement:
    """The verdicts of two rules on the same `answers`, of all cells and seeds, or those of two steps. `kappa`
    is Cohen's, None if each has one verdict on all; `interval` has 95 %, None of too few answers."""

    first: str
    second: str
    answers: int
    both_right: int
    only_first: int
    only_second: int
    kappa: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class RepeatAgreement:
    """The verdicts on `rows` of a cell that several seeds answered, or of a step with several samples; on
    `unanimous` rows they are all equal. `alpha` is Krippendorff's, None if all verdicts are equal; `interval`
    has 95 %, None of too few rows."""

    name: str
    rows: int
    unanimous: int
    alpha: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class VerdictAgreement:
    """Empty where one rule or step judges, and where nothing is repeated."""

    rules: tuple[RuleAgreement, ...] = ()
    repeats: tuple[RepeatAgreement, ...] = ()


def read_agreement(db: Database, run: Run) -> VerdictAgreement:
    """Read the verdicts in one pass. Memory grows with questions, by a few numbers each, and where there are
    several seeds with rows and cells."""
    judge, several_seeds = run.experiment.judge, len(run.experiment.grid.seeds) > 1
    has_rules = bool(judge.correctness or judge.execution or "tree_match" in judge.metrics)
    if not (has_rules or several_seeds):
        return VerdictAgreement()
    questions = question_labels(db, run.dataset, TEST, run.experiment.report.cluster)
    pairs = PairedVerdicts()
    right = {cell.name: Counter[int]() for cell in cells(run.experiment)}
    judged = {variant: Counter[int]() for variant in right}
    for unit in iter_rows(db, run.id, stages=("judge",), split=TEST):
        pairs.add(_verdicts(judge, unit), questions[unit.example_id])
        if several_seeds:
            judged[unit.variant][unit.example_id] += 1
            right[unit.variant][unit.example_id] += is_right(unit)
    repeats = {name: RepeatedVerdicts() for name in judged if judged[name]}
    for name, verdicts in repeats.items():
        for row, answers in judged[name].items():
            verdicts.add(right[name][row], answers, questions[row])
    return VerdictAgreement(
        pairs.agreement(), tuple(verdicts.agreement(name) for name, verdicts in repeats.items())
    )


@dataclass(slots=True)
class QuestionSums:
    """Sums of `width` numbers by question."""

    width: int
    numbers: array[float] = field(default_factory=lambda: array("d"))
    places: dict[str, int] = field(default_factory=dict)

    def add(self, question: str, *numbers: float) -> None:
        start = self.places.setdefault(question, len(self.numbers))
        if start == len(self.numbers):
            self.numbers.extend([0.0] * self.width)
        for index, number in enumerate(numbers, start):
            self.numbers[index] += number

    def interval(self, rows: int, interval: Callable[[ArrayLike], Interval]) -> Interval | None:
        """Return the interval, None of too few rows or questions."""
        if rows < MIN_ROWS or len(self.places) < MIN_QUESTIONS:
            return None
        return interval(np.array(self.numbers).reshape(-1, self.width))


class PairedVerdicts:
    """Counts pairs of verdicts on the same answer."""

    def __init__(self) -> None:
        self._pairs: defaultdict[tuple[str, str], QuestionSums] = defaultdict(lambda: QuestionSums(4))

    def add(self, verdicts: Mapping[str, bool], question: str) -> None:
        """Count an answer with its verdict by each rule."""
        for (first, one), (second, other) in combinations(verdicts.items(), 2):
            pair = (one and other, one and not other, other and not one, not (one or other))
            self._pairs[first, second].add(question, *pair)

    def agreement(self) -> tuple[RuleAgreement, ...]:
        return tuple(_rules(*names, sums) for names, sums in self._pairs.items())


class RepeatedVerdicts:
    """Counts rows of at least two answers by the number of these, and of the right ones."""

    def __init__(self) -> None:
        self._patterns: Counter[tuple[int, int]] = Counter()
        self._sums = QuestionSums(3)

    def add(self, right: int, answers: int, question: str) -> None:
        if answers > 1:
            self._patterns[answers, right] += 1
            self._sums.add(question, right, answers - right, pair_disagreement(right, answers))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def agreement(self, name: str) -> RepeatAgreement:
        labels = {
            (True,) * right + (False,) * (answers - right): rows
            for (answers, right), rows in self._patterns.items()
        }
        unanimous = sum(rows for (answers, right), rows in self._patterns.items() if right in (0, answers))
        rows, alpha = self._patterns.total(), krippendorff_alpha(labels)
        interval = None if alpha is None else self._sums.interval(rows, alpha_interval)
        return RepeatAgreement(name, rows, unanimous, alpha, interval)


class StepVerdicts:
    """Counts the verdicts of steps: of two steps on the same sample of a row, and of one step on all of its
    samples."""

    def __init__(self) -> None:
        self._pairs = PairedVerdicts()
        self._repeats: defaultdict[str, RepeatedVerdicts] = defaultdict(RepeatedVerdicts)

    def add(self, verdicts: Mapping[str, Mapping[int, bool]], question: str) -> None:
        """Count a row with its verdicts by step and sample."""
        for sample in dict.fromkeys(sample for of_step in verdicts.values() for sample in of_step):
            of_sample = {name: given[sample] for name, given in verdicts.items() if sample in given}
            self._pairs.add(of_sample, question)
        for name, given in verdicts.items():
            self._repeats[name].add(sum(given.values()), len(given), question)

    def agreement(self) -> VerdictAgreement:
        return VerdictAgreement(
            self._pairs.agreement(),
            tuple(verdicts.agreement(name) for name, verdicts in self._repeats.items() if verdicts),
        )


def _verdicts(judge: Judge, unit: ResultRow) -> dict[str, bool]:
    """Return the verdict of each rule that judged this answer, by its name."""
    verdicts = {"exact match": bool(unit.result.get("exact_match"))}
    if "tree_match" in judge.metrics:
        verdicts["tree"] = same_answer("tree", unit.result.get("prediction") or "", unit.reference)
    if judge.correctness and "correct" in unit.result:
        verdicts[judge.correctness] = bool(unit.result["correct"])
    if outcome := execution_outcome(unit):
        verdicts["execution"] = outcome == "passed"
    return verdicts


def _rules(first: str, second: str, sums: QuestionSums) -> RuleAgreement:
    table = np.array(sums.numbers).reshape(-1, sums.width).sum(axis=0).astype(int).tolist()
    both, only_first, only_second, neither = table
    kappa = cohen_kappa(
        {(True, True): both, (True, False): only_first, (False, True): only_second, (False, False): neither}
    )
    interval = None if kappa is None else sums.interval(sum(table), kappa_interval)
    return RuleAgreement(first, second, sum(table), both, only_first, only_second, kappa, interval)


def agreement_sections(agreement: VerdictAgreement) -> list[Section]:
    return [
        section_of_texts(
            "Agreement of verdicts",
            ("By", "Against", "Answers", "Both right", "Only the first", "Only the second", "Kappa",
             INTERVAL),
            (
                (each.first, each.second, f"{each.answers:,}", f"{each.both_right:,}",
                 f"{each.only_first:,}", f"{each.only_second:,}", *_coefficient(each.kappa, each.interval))
                for each in agreement.rules
            ),
            "Answers that both judged, of all cells and seeds. Kappa is Cohen's: 1 is perfect agreement, 0 "
            "that of chance; - where each has one verdict on all.",
            (0, 1),
        ),
        section_of_texts(
            "Agreement of repeats",
            ("Answers of", "Rows", "All alike", "Alpha", INTERVAL),
            (
                (each.name, f"{each.rows:,}", share(each.unanimous, each.rows),
                 *_coefficient(each.alpha, each.interval))
                for each in agreement.repeats
            ),
            "Rows with at least two answers, of several seeds or samples, right or wrong. Alpha is "
            "Krippendorff's for nominal values: 1 is perfect agreement, 0 that of chance; - where all "
            "verdicts are equal.",
        ),
    ]  # fmt: skip


def _coefficient(value: float | None, interval: Interval | None) -> tuple[str, str]:
    if value is None:
        return NOTHING, NOTHING
    return f"{value:.2f}", "[{:.2f}, {:.2f}]".format(*interval) if interval else TOO_FEW
