"""The right rationales and answers of the pipeline star by columns of the data, or by strata of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from models.core.errors import UsageError
from models.core.experiment.options import STRATA
from producer.results.export.columns import in_batches
from producer.results.report.groups import Grouping, GroupTable
from producer.results.report.strata import Strata
from producer.results.row_verdicts import is_right, rows_left_out
from producer.results.synthetic_set import synthetic_examples
from storage.database import Database
from storage.ledger.examples import question_labels
from storage.ledger.queries import columns_of, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN

FIRST_PASS, STAR = "first pass", "STaR"


def read_groups(
    db: Database, run: Run, by: Sequence[str], *, require: bool
) -> tuple[tuple[GroupTable, ...], list[str]]:
    """Return the tables of train rows, then of test rows, and the columns that no row has. With `require`,
    raise UsageError for such a column."""
    if not by:
        return (), []
    if run.experiment.data is None and require and not STRATA.keys() >= set(by):
        raise UsageError(
            f"--by: run {run.id} keeps no columns; name its file by `data` in place of `dataset`, or take "
            f"one of {', '.join(STRATA)}"
        )
    strata = Strata(db, run, STRATA.keys() & set(by))
    cluster = run.experiment.report.cluster
    questions = {
        example: name
        for split in (TRAIN, TEST)
        for example, name in question_labels(db, run.dataset, split, cluster).items()
    }
    train, test = Grouping(by, TRAIN), Grouping(by, TEST)
    reasoned = (each for each in synthetic_examples(db, run) if each.rationales)
    for batch in in_batches(reasoned):
        columns = columns_of(db, [example.rationales[0].example_id for example in batch])
        for example in batch:
            first = example.rationales[0]
            right = {FIRST_PASS: [bool(first.result["correct"])], STAR: [bool(example.right)]}
            row = strata.of(first) | columns[first.example_id]
            train.add(row, right, questions[first.example_id])
    judged = iter_rows(db, run.id, stages=("judge",), split=TEST)
    left_out = rows_left_out(db, run)
    rows = (
        [*units]
        for example, units in groupby(judged, key=lambda unit: unit.example_id)
        if example not in left_out
    )
    for batch_of_rows in in_batches(rows):
        columns = columns_of(db, [units[0].example_id for units in batch_of_rows])
        for units in batch_of_rows:
            answers: dict[str, list[float]] = {}
            for unit in units:
                answers.setdefault(unit.variant, []).append(is_right(unit))
            test_row, example_id = strata.of(units[0]), units[0].example_id
            test.add(test_row | columns[example_id], answers, questions[example_id])
    missing = [column for column in train.missing() if column in test.missing()]
    if require:
        for name in STRATA.keys() & set(missing):
            raise UsageError(f"--by {name}: {STRATA[name]}")
        train.require(missing)
    return (*train.tables(), *test.tables()), missing
