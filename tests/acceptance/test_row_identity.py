"""A row is what stands in it, or its given id; not its place in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chores import read_jsonl, write_jsonl
from tests.support.provider_experiments import write_case
from tests.support.provider_runs import Stack, provider_stack

CASES = ({"name": "shared_ids", "test_rows": 10}, {"name": "inserted_line"})
SECONDS = 100.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provider_stack(tmp_path_factory.mktemp("rows"), CASES) as running:
        yield running


def experiment_with(stack: Stack, case: dict[str, Any], split: str, rows: list[dict[str, Any]]) -> Path:
    """Write the experiment of a case, one of its files replaced by `rows`."""
    path = write_case(stack.data, stack.provider, case)
    experiment = yaml.safe_load(path.read_text())
    own = write_jsonl(stack.data / f"{case['name']}.jsonl", rows)
    experiment["dataset"][split] = own.name
    path.write_text(yaml.safe_dump(experiment))
    return path


def splits_of(stack: Stack, run: str, folder: Path) -> dict[str, str]:
    """Export in two halves. Return the split of each request."""
    stack.home.starmill("export", run, "--split", "train=0.5,validation=0.5", "-o", folder)
    files = {path.stem: read_jsonl(path) for path in folder.rglob("*.jsonl")}
    return {row["request"]: split for split, rows in files.items() for row in rows if "request" in row}


def test_rows_that_share_an_id_are_all_counted(stack: Stack) -> None:
    write_case(stack.data, stack.provider, CASES[0])
    rows = [
        row | {"id": "ab"[number % 2]} for number, row in enumerate(read_jsonl(stack.data / "test-10.jsonl"))
    ]
    stack.start_experiment("shared_ids", experiment_with(stack, CASES[0], "test", rows))
    seen = stack.seen("shared_ids", SECONDS)
    assert seen.exit_code == 0
    report = json.loads(stack.home.starmill("report", seen.run, "--format", "json").stdout)
    assert [cell["n"] for cell in report["ablation"]] == [10]


def test_inserted_line_buys_one_row_and_moves_none(stack: Stack, tmp_path: Path) -> None:
    write_case(stack.data, stack.provider, CASES[1])
    rows = read_jsonl(stack.data / "train-20.jsonl")
    stack.start_experiment("inserted_line", experiment_with(stack, CASES[1], "train", rows))
    before = stack.seen("inserted_line", SECONDS)
    old = splits_of(stack, before.run, tmp_path / "before")
    new_row = {"request": "ROW-99 call its function", "reference": "f_row_99()"}
    stack.start_experiment("inserted_line", experiment_with(stack, CASES[1], "train", [new_row, *rows]))
    after = stack.seen("inserted_line", SECONDS)
    assert (before.exit_code, after.exit_code) == (0, 0)
    assert after.run != before.run
    bought = after.provider["calls"][before.provider["requests"] :]
    assert [call["row"] for call in bought] == ["ROW-99"]
    new = splits_of(stack, after.run, tmp_path / "after")
    assert (len(old), len(new)) == (20, 21)
    assert old.items() <= new.items()
