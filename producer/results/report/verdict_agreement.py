"""Agreement of the rules and steps that judge the same answers, and of repeated answers to the same row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from models.core.correctness import same_answer
from models.core.experiment.experiment import Judge
from models.core.metrics.agreement import cohen_kappa, krippendorff_alpha
from models.core.pipeline.grid import cells
from producer.results.report.table_parts import NOTHING, Section, section_of_texts, share
from producer.results.row_verdicts import execution_outcome, is_right
from storage.database import Database
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST


@dataclass(frozen=True, slots=True)
class RuleAgreement:
    """The verdicts of two rules on the same `answers`, of all cells and seeds, or those of two steps. `kappa`
    is Cohen's, None if each has one verdict on all."""

    first: str
    second: str
    answers: int
    both_right: int
    only_first: int
    only_second: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class RepeatAgreement:
    """The verdicts on `rows` of a cell that several seeds answered, or of a step with several samples; on
    `unanimous` rows they are all equal. `alpha` is Krippendorff's, None if all verdicts are equal."""

    name: str
    rows: int
    unanimous: int
    alpha: float | None


@dataclass(frozen=True, slots=True)
class VerdictAgreement:
    """Empty where one rule or step judges, and where nothing is repeated."""

    rules: tuple[RuleAgreement, ...] = ()
    repeats: tuple[RepeatAgreement, ...] = ()


def read_agreement(db: Database, run: Run) -> VerdictAgreement:
    """Read the verdicts in one pass. Memory grows with rows and cells only where there are several seeds."""
    judge, several_seeds = run.experiment.judge, len(run.experiment.grid.seeds) > 1
    has_rules = bool(judge.correctness or judge.execution or "tree_match" in judge.metrics)
    if not (has_rules or several_seeds):
        return VerdictAgreement()
    pairs = PairedVerdicts()
    right = {cell.name: Counter[int]() for cell in cells(run.experiment)}
    judged = {variant: Counter[int]() for variant in right}
    for unit in iter_rows(db, run.id, stages=("judge",), split=TEST):
        pairs.add(_verdicts(judge, unit))
        if several_seeds:
            judged[unit.variant][unit.example_id] += 1
            right[unit.variant][unit.example_id] += is_right(unit)
    return VerdictAgreement(
        pairs.agreement(),
        tuple(
            _repeats(name, Counter((count, right[name][row]) for row, count in judged[name].items()))
            for name in judged
            if judged[name]
        ),
    )


class PairedVerdicts:
    """Counts pairs of verdicts on the same answer."""

    def __init__(self) -> None:
        self._pairs: defaultdict[tuple[str, str], Counter[tuple[bool, bool]]] = defaultdict(Counter)

    def add(self, verdicts: Mapping[str, bool]) -> None:
        """Count an answer with its verdict by each rule."""
        for (first, one), (second, other) in combinations(verdicts.items(), 2):
            self._pairs[first, second][one, other] += 1

    def agreement(self) -> tuple[RuleAgreement, ...]:
        return tuple(_rules(*names, counted) for names, counted in self._pairs.items())


class StepVerdicts:
    """Counts the verdicts of steps: of two steps on the same sample of a row, and of one step on all of its
    samples."""

    def __init__(self) -> None:
        self._pairs = PairedVerdicts()
        self._repeats: defaultdict[str, Counter[tuple[int, int]]] = defaultdict(Counter)

    def add(self, verdicts: Mapping[str, Mapping[int, bool]]) -> None:
        """Count a row with its verdicts by step and sample."""
        for sample in dict.fromkeys(sample for of_step in verdicts.values() for sample in of_step):
            self._pairs.add({name: given[sample] for name, given in verdicts.items() if sample in given})
        for name, given in verdicts.items():
            self._repeats[name][len(given), sum(given.values())] += 1

    def agreement(self) -> VerdictAgreement:
        repeated = {
            name: patterns
            for name, patterns in self._repeats.items()
            if any(answers > 1 for answers, _ in patterns)
        }
        return VerdictAgreement(
            self._pairs.agreement(),
            tuple(_repeats(name, patterns) for name, patterns in repeated.items()),
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


def _rules(first: str, second: str, counted: Mapping[tuple[bool, bool], int]) -> RuleAgreement:
    return RuleAgreement(
        first, second, sum(counted.values()), counted[True, True], counted[True, False],
        counted[False, True], cohen_kappa(counted),
    )  # fmt: skip


def _repeats(name: str, patterns: Mapping[tuple[int, int], int]) -> RepeatAgreement:
    """`patterns` counts rows by the number of their answers, and of the right ones."""
    repeated = {(answers, hits): rows for (answers, hits), rows in patterns.items() if answers > 1}
    labels = {
        (True,) * hits + (False,) * (answers - hits): rows for (answers, hits), rows in repeated.items()
    }
    unanimous = sum(rows for (answers, hits), rows in repeated.items() if hits in (0, answers))
    return RepeatAgreement(name, sum(repeated.values()), unanimous, krippendorff_alpha(labels))


def agreement_sections(agreement: VerdictAgreement) -> list[Section]:
    return [
        section_of_texts(
            "Agreement of verdicts",
            ("By", "Against", "Answers", "Both right", "Only the first", "Only the second", "Kappa"),
            (
                (each.first, each.second, f"{each.answers:,}", f"{each.both_right:,}",
                 f"{each.only_first:,}", f"{each.only_second:,}", _coefficient(each.kappa))
                for each in agreement.rules
            ),
            "Answers that both judged, of all cells and seeds. Kappa is Cohen's: 1 is perfect agreement, 0 "
            "that of chance; - where each has one verdict on all.",
            (0, 1),
        ),
        section_of_texts(
            "Agreement of repeats",
            ("Answers of", "Rows", "All alike", "Alpha"),
            (
                (each.name, f"{each.rows:,}", share(each.unanimous, each.rows), _coefficient(each.alpha))
                for each in agreement.repeats
            ),
            "Rows with at least two answers, of several seeds or samples, right or wrong. Alpha is "
            "Krippendorff's for nominal values: 1 is perfect agreement, 0 that of chance; - where all "
            "verdicts are equal.",
        ),
    ]  # fmt: skip


def _coefficient(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
