"""The ablation table: the scores of each cell of the grid, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.core.experiment.options import DEFAULT_METRICS, Metric
from models.core.metrics.scores import SCORES, WIDTH, row_stats, wrong_stats
from models.core.metrics.seed_scores import Stats, score_interval, score_of_seeds
from models.core.pipeline.grid import Cell, cells
from producer.results.row_verdicts import rows_left_out
from storage.database import Database
from storage.ledger.examples import question_labels
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import DONE, FINAL, OPEN, TEST

NOT_ANSWERED: Stats = np.zeros(WIDTH, dtype=np.int64)


@dataclass(slots=True)
class CellScores:
    """The answers of a cell in the ledger.

    `scored` maps sample and row to the stats of an answer, None if it has no score; `failed` to those of a
    wrong answer where none will come. `questions` names the question of each row. `fewer` of the `answers`
    were shown fewer exemplars than the cell asks for; all were shown `shown` together. The context had no
    room for some `passages` and `exemplars` of the `shortened` answers.
    """

    cell: Cell
    scored: dict[int, dict[int, Stats | None]] = field(default_factory=dict)
    failed: dict[int, dict[int, Stats]] = field(default_factory=dict)
    questions: dict[int, str] = field(default_factory=dict)
    answers: int = 0
    fewer: int = 0
    shown: int = 0
    truncated: int = 0
    shortened: int = 0
    passages: int = 0
    exemplars: int = 0

    def add(self, unit: ResultRow, question: str = "") -> None:
        """Count a unit of a row; rows without a `question` are one each."""
        done = unit.state == DONE
        if unit.stage == "judge":
            self.questions[unit.number] = question or f"row {unit.number}"
            prediction = unit.result.get("prediction") or ""
            stats = row_stats(prediction, unit.reference, unit.result.get("correct")) if done else None
            self.scored.setdefault(unit.sample, {})[unit.number] = stats
            if not done and unit.state in FINAL:
                self.failed.setdefault(unit.sample, {})[unit.number] = wrong_stats(unit.reference)
        elif done:
            shown = len(unit.result.get("exemplars", ()))
            dropped = unit.result.get("dropped") or {"passages": 0, "exemplars": 0}
            self.answers += 1
            self.shown += shown
            # The exemplars of an answer that is recorded by cell are not known.
            known = "exemplars" in unit.result
            self.fewer += known and shown + dropped["exemplars"] < self.cell.shots
            self.shortened += any(dropped.values())
            self.passages += dropped["passages"]
            self.exemplars += dropped["exemplars"]
            self.truncated += bool(unit.result.get("truncated"))

    def stats(self, *, with_failed: bool = False) -> tuple[Stats, list[str]] | None:
        """Return the stats of rows with a score in any seed, shape [rows, seeds, WIDTH], and the questions of
        these rows; None if there are none. A row that one seed lacks has zeros there. A failed row has the
        score of a wrong answer `with_failed`, else none."""
        seeds = []
        for sample, by_row in sorted(self.scored.items()):
            failed = self.failed.get(sample, {}) if with_failed else {}
            seeds.append({row: stats for row, stats in by_row.items() if stats is not None} | failed)
        seeds = [scored for scored in seeds if scored]
        rows = dict.fromkeys(row for by_row in seeds for row in by_row)
        table = [[by_row.get(row, NOT_ANSWERED) for by_row in seeds] for row in rows]
        return (np.array(table), [self.questions[row] for row in rows]) if table else None


def read_scores(db: Database, run: Run) -> list[CellScores]:
    """Read the cells in the paper's order, without the rows that a later one of their id replaces."""
    scores = {cell.name: CellScores(cell) for cell in cells(run.experiment)}
    left_out = rows_left_out(db, run)
    questions = question_labels(db, run.dataset, TEST, run.experiment.report.cluster)
    for unit in iter_rows(db, run.id, stages=("answer", "judge"), states=OPEN + FINAL, split=TEST):
        if unit.stage == "answer" or unit.example_id not in left_out:
            scores[unit.variant].add(unit, questions[unit.example_id])
    return list(scores.values())


def cluster_notes(db: Database, run: Run, cell_scores: Sequence[CellScores]) -> list[str]:
    """Say how many questions the test rows are, and if no row has the column that should name them."""
    notes, column = [], run.experiment.report.cluster
    questions = {row: name for scores in cell_scores for row, name in scores.questions.items()}
    if column and question_labels(db, run.dataset, TEST, column) == question_labels(db, run.dataset, TEST):
        notes.append(f"No test row has the column {column} of report.cluster.")
    if (number := len(set(questions.values()))) < len(questions):
        notes.append(
            f"{len(questions):,} rows are {number:,} questions; intervals and tests keep the rows of a "
            "question together."
        )
    return notes


HEADINGS: Mapping[Metric, str] = {
    "bleu4": "BLEU-4",
    "char_bleu": "charBLEU",
    "exact_match": "Exact match",
    "parse_rate": "Parse rate",
    "accuracy": "Accuracy",
    "token_f1": "Token F1",
    "chrf": "chrF",
    "normalised_match": "Match but for blanks",
    "tree_match": "Match as trees",
    "command_accuracy": "Command accuracy",
}
# The default of `judge.metrics`.
METRICS: Mapping[str, str] = {name: HEADINGS[name] for name in DEFAULT_METRICS}


@dataclass(frozen=True, slots=True)
class Measure:
    """A score in percent, its 95 % confidence interval, and its standard deviation over several seeds."""

    value: float
    low: float
    high: float
    sd: float | None = None


@dataclass(frozen=True, slots=True)
class TableRow:
    """`n` of `planned` answers are scored, over all seeds, to `rows` rows that are so many `questions`;
    `measures` is empty while `n` is 0. `with_failed` counts `failed` answers as wrong, and is empty without.

    `best` names the metrics in which all other cells of the student are worse. `fewer` of the `answers` were
    shown fewer exemplars than the cell asks for, as there were no more; the average is `shown`. `truncated`
    answers were cut off at the token limit. The context had no room for all passages and exemplars of
    `shortened` answers, which lost `dropped` in all. `unparsable` of the `n` answers are no Python.
    """

    cell: Cell
    n: int
    planned: int
    measures: dict[str, Measure]
    answers: int = 0
    fewer: int = 0
    shown: float = 0.0
    truncated: int = 0
    shortened: int = 0
    dropped: tuple[int, int] = (0, 0)
    unparsable: int = 0
    best: tuple[str, ...] = ()
    rows: int = 0
    questions: int = 0
    failed: int = 0
    with_failed: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def answer_count(self) -> str:
        """Return `n` in words, with the planned number where some are missing."""
        return f"{self.n:,}" if self.n == self.planned else f"{self.n:,} of {self.planned:,}"


def ablation_rows(
    cell_scores: Sequence[CellScores],
    metrics: Sequence[str],
    executed: Mapping[str, Mapping[str, Measure]],
    executed_with_failed: Mapping[str, Mapping[str, Measure]],
) -> tuple[TableRow, ...]:
    """Return one row per cell. The last two add measures by variant and name, such as pass@1."""
    return _with_best(
        [
            _row(scores, metrics, *(by.get(scores.cell.name, {}) for by in (executed, executed_with_failed)))
            for scores in cell_scores
        ]
    )


def _row(
    scores: CellScores,
    metrics: Sequence[str],
    executed: Mapping[str, Measure],
    executed_with_failed: Mapping[str, Measure],
) -> TableRow:
    planned = [stats for by_row in scores.scored.values() for stats in by_row.values()]
    scored = [stats for stats in planned if stats is not None]
    measures, rows, questions = _measures(scores, metrics)
    with_failed = _measures(scores, metrics, with_failed=True)[0] if scores.failed else {}
    return TableRow(
        scores.cell,
        n=len(scored),
        planned=len(planned),
        measures={**measures, **executed} if measures else {},
        answers=scores.answers,
        fewer=scores.fewer,
        shown=scores.shown / scores.answers if scores.answers else 0.0,
        truncated=scores.truncated,
        shortened=scores.shortened,
        dropped=(scores.passages, scores.exemplars),
        unparsable=sum(not SCORES["parse_rate"](stats.astype(np.float64)) for stats in scored),
        rows=rows,
        questions=questions,
        failed=sum(map(len, scores.failed.values())),
        with_failed={**with_failed, **executed_with_failed} if with_failed else {},
    )


def _measures(
    scores: CellScores, metrics: Sequence[str], *, with_failed: bool = False
) -> tuple[dict[str, Measure], int, int]:
    """Return the measures, and the numbers of rows and questions that they are of."""
    scored = scores.stats(with_failed=with_failed)
    if scored is None:
        return {}, 0, 0
    stats, questions = scored
    measures = {}
    for name in metrics:
        value, sd = score_of_seeds(stats, name)
        measures[name] = Measure(value, *score_interval(stats, name, questions), sd)
    return measures, len(questions), len(set(questions))


def _with_best(table: list[TableRow]) -> tuple[TableRow, ...]:
    """Fill in `best`. Scores are equal if they are so at two decimals; of equal ones none is best, nor is one
    that stands alone."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in table:
        for name, measure in row.measures.items():
            scores.setdefault((row.cell.student, name), []).append(round(measure.value, 2))
    top = {
        key: max(values)
        for key, values in scores.items()
        if len(values) > 1 and values.count(max(values)) == 1
    }
    return tuple(
        replace(row, best=tuple(
            name for name, measure in row.measures.items()
            if 0 < round(measure.value, 2) == top.get((row.cell.student, name))
        ))
        for row in table
    )  # fmt: skip
