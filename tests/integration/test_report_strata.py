"""Reports by strata: what the answers need, how long they are, and if documentation was found for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.core.errors import ExperimentError
from models.core.pipeline.steps import check_columns
from models.core.types import Example
from producer.results.report.build import build_report
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    LedgerRun,
    answered,
    example,
    experiment,
    finish_train,
    judged,
    retrieved,
)

NAMES = ("library", "unseen", "reference_length", "passage_retrieved")
GRID = {"shots": [0], "retrieval": [False, True], "rationale": ["none"]}
# The right passages of train and test rows, by row. The search finds np.sort, and nothing else.
TRAINED = [["np.sort"], ["py.len", "np.sort"]]
TESTED = [["np.sort"], ["np.sort", "pd.cut"], ["py.len"], ["pd.cut"], [], []]


def needing(row: int, oracle: list[str], reference: str = "") -> Example:
    return replace(example(row, reference=reference), oracle=tuple(oracle))


def plan(db: Database, oracles: bool = True, **sections: Any) -> LedgerRun:
    """Six test rows, of which the first three are answered right where documentation is shown."""
    train = [needing(row, ids if oracles else []) for row, ids in enumerate(TRAINED)]
    test = [needing(row, ids if oracles else [], "x" * (row + 1)) for row, ids in enumerate(TESTED)]
    run = LedgerRun.plan(db, train, test, grid=GRID, **sections)
    finish_train(run)

    def found(unit: ClaimedUnit) -> Any:
        result: Any = retrieved(unit)
        return result | {"passages": [result["passages"][0] | {"id": "np.sort"}]}

    def answer(unit: ClaimedUnit) -> Any:
        right = "retrieval" in unit.variant and unit.example.row < 3
        return answered(unit.example.reference if right else "wrong")

    run.finish(TEST, "retrieve", found)
    run.finish(TEST, "answer", answer)
    run.finish(TEST, "judge", judged)
    return run


def tables(db: Database, run: LedgerRun, *by: str) -> dict[tuple[str, str], list[tuple[str, int, Any]]]:
    """Rows of each value, and the share of right answers with documentation, by column and split."""
    return {
        (table.column, table.of): [
            (group.value, group.rows, tally.mean if tally else None)
            for group in table.groups
            for tally in [group.measures.get("pupil/0-shot/retrieval")]
        ]
        for table in build_report(db, run.run, by).groups
    }


def test_rows_are_parted_by_what_they_need(db: Database) -> None:
    made = tables(db, plan(db), *NAMES)
    assert made["library", "test"] == [
        ("np", 1, 100.0), ("np + pd", 1, 100.0), ("pd", 1, 0.0), ("py", 1, 100.0), ("(none)", 2, 0.0),
    ]  # fmt: skip
    assert made["library", "train"] == [("np", 1, None), ("np + py", 1, None)]
    assert made["unseen", "test"] == [
        ("all seen in train", 2, 100.0), ("unseen function", 2, 50.0), ("(none)", 2, 0.0),
    ]  # fmt: skip
    assert made["reference_length", "test"] == [
        ("1: up to 2 characters", 2, 100.0), ("2: 3 to 4", 2, 50.0), ("3: above 4", 2, 0.0),
    ]  # fmt: skip
    assert made["passage_retrieved", "test"] == [
        ("none right", 2, 50.0), ("right one shown", 2, 100.0), ("(none)", 2, 0.0),
    ]  # fmt: skip
    assert {("unseen", "train"), ("passage_retrieved", "train")}.isdisjoint(made)


def test_the_experiment_may_name_strata(db: Database) -> None:
    made = tables(db, plan(db, report={"by": ["unseen", "level"]}))
    assert list(made) == [("unseen", "test")]


def test_a_plan_takes_strata_for_columns() -> None:
    check_columns(experiment(report={"by": ["unseen", "level"]}), ["level"])
    with pytest.raises(ExperimentError, match=r"report\.by: there is no column seen"):
        check_columns(experiment(report={"by": "seen"}), ["level"])


def test_a_column_of_the_data_comes_first(db: Database) -> None:
    rows = [replace(needing(row, ids), columns={"library": "own"}) for row, ids in enumerate(TESTED)]
    run = LedgerRun.plan(db, [], rows, grid=GRID | {"retrieval": [False]}, dataset=None, data="rows.csv")
    run.finish(TEST, "answer", lambda unit: answered("wrong"))
    run.finish(TEST, "judge", judged)
    assert tables(db, run, "library") == {("library", "test"): [("own", 6, None)]}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("unseen", "--by unseen: no test row names its right passages"),
        (
            "passage_retrieved",
            "--by passage_retrieved: no cell retrieves, or no row names its",
        ),
        (
            "level",
            "keeps no columns; name its file by `data` in place of `dataset`, or take one of library",
        ),
    ],
)
def test_strata_that_no_row_has_are_refused_in_one_line(
    db: Database, name: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(db, oracles=False)
    assert starmill("report", "small", "--by", name) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert missing in " ".join(shown.err.split())
