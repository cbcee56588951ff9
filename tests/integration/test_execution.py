"""A run whose answers and rationales are judged by their tests, through real queue and real sandbox."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.adapters.sandbox.runner import Sandbox
from models.adapters.sandbox.sandbox_command import bubblewrap
from models.core.errors import ServiceError
from models.core.programs import ProgramLimits
from storage.ledger.queries import ResultRow, iter_rows
from storage.schema import TEST, TRAIN
from tests.openai_server.process import running
from tests.support.chores import CHORES, read_jsonl, write_data, write_experiment, write_jsonl
from tests.support.pipeline import STARMILL, Ended, Home, run_locally

# What the chores make of an input, in their order.
CASES = (
    ("[3, 1, 2]", "3"), ("[3, 1, 2]", "3"), ("[3, 1, 2]", "[1, 2, 3]"), ("[4, 5, 6, 7]", "[4, 5, 6]"),
    ("['a', 'b']", "'a,b'"), ("'abc'", "'cba'"), ("[1, 1, 2]", "{1, 2}"), ("' a '", "'a'"),
)  # fmt: skip
TRAIN_ROWS, TEST_ROWS = 16, 8
UNTESTED, UNAVAILABLE, IMPOSSIBLE = 5, 6, 7

pytestmark = pytest.mark.timeout(300)


def with_test(row: dict[str, str], number: int) -> dict[str, str]:
    """A row with a test of its code."""
    name = row["reference"].removeprefix(CHORES[number][1].partition("{}")[0])
    name = name[: len(name) - len(CHORES[number][1].partition("{}")[2])]
    given, expected = CASES[number]
    in_place = row["reference"].endswith(".sort()")
    return row | {
        "tests": f"def check(candidate):\n    assert candidate({given}) == {expected}\n",
        "entry_point": "solve",
        "prefix": f"def solve({name}):\n    " + ("" if in_place else "return "),
        "suffix": f"\n    return {name}" if in_place else "",
    }


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    try:
        Sandbox(ProgramLimits()).check()
    except ServiceError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    folder = tmp_path_factory.mktemp("executed")
    data = write_data(folder / "data", train=TRAIN_ROWS, test=TEST_ROWS)
    for split in (TRAIN, TEST):
        path = data / f"{split}.jsonl"
        rows = [with_test(row, number % len(CHORES)) for number, row in enumerate(read_jsonl(path))]
        for key in ("tests", "entry_point", "prefix", "suffix"):
            del rows[UNTESTED][key]
        rows[UNAVAILABLE]["tests"] = "import no_such_module\n" + rows[UNAVAILABLE]["tests"]
        rows[IMPOSSIBLE]["tests"] = "def check(candidate):\n    assert False\n"
        write_jsonl(path, rows)
    with running("--references", str(data / "references.jsonl")) as server:
        experiment = write_experiment(
            data,
            server.url,
            augment={"enabled": False},
            rationale={"hint": "paper", "correctness": "execution"},
            grid={"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"], "seeds": [0, 1]},
            judge={"execution": True},
        )
        yield run_locally(Home(folder / "home"), experiment)


def judged(ended: Ended, split: str, stage: str) -> list[ResultRow]:
    with ended.home.ledger() as db:
        return list(iter_rows(db, ended.run, stages=[stage], split=split))


def test_answers_are_judged_by_their_tests(ended: Ended) -> None:
    rows = judged(ended, TEST, "judge")
    assert len(rows) == TEST_ROWS * 3 * 2
    outcomes: Counter[str] = Counter()
    for row in rows:
        verdict: dict[str, Any] | None = row.result.get("execution")
        if row.number == UNTESTED:
            assert verdict is None
            continue
        assert verdict is not None
        outcomes[verdict["outcome"]] += 1
        if row.number not in {UNAVAILABLE, IMPOSSIBLE}:
            # The model is right in the reference's own words, or it is wrong.
            assert (verdict["outcome"] == "passed") == row.result["exact_match"], row
            assert row.result["reference_execution"]["outcome"] == "passed"
    assert outcomes["passed"] > 0
    assert outcomes["error"] + outcomes["failed"] > 0
    assert outcomes["unavailable"] == 3 * 2


def test_the_report_says_what_was_executed(ended: Ended) -> None:
    stdout = ended.home.starmill("report", ended.run, "--format", "json").stdout
    whole = json.loads(stdout)
    report = whole["execution"]
    for row, cell in zip(whole["ablation"], report["cells"], strict=True):
        for name in ("pass@1", "pass@2"):
            assert row["scores"][name]["value"] == pytest.approx(cell[name]["value"], abs=1e-3)
        assert row["scores"]["exact_match"]["sd"] is not None
        assert row["answers_unparsable"] <= row["n"] == TEST_ROWS * 2
    assert (report["examples"], report["tested"], report["unavailable"]) == (TEST_ROWS, 6, 1)
    assert report["ceiling"] == pytest.approx(100 * 5 / 6, abs=1e-3)
    rows = judged(ended, TEST, "judge")
    for cell in report["cells"]:
        passed = [
            row.result["execution"]["outcome"] == "passed"
            for row in rows
            if row.variant == cell["variant"] and row.number not in {UNTESTED, UNAVAILABLE}
        ]
        assert cell["n"] == 6
        assert cell["pass@1"]["value"] == pytest.approx(100 * sum(passed) / len(passed))
        assert cell["pass@2"]["value"] >= cell["pass@1"]["value"]
    text = ended.home.starmill("report", ended.run, "--format", "markdown").stdout
    assert "Executed: 6 of 8 test rows have tests (1 more need what is not installed); 83.3 %" in text
    [head] = [line for line in text.splitlines() if line.startswith("| Student")]
    assert head.endswith("| pass@1 | pass@2 |")


def test_rationales_are_right_where_their_code_passes(ended: Ended) -> None:
    for stage in ("rationale", "rationalize"):
        for row in judged(ended, TRAIN, stage):
            verdict = row.result.get("execution")
            if row.number == IMPOSSIBLE:
                assert row.result["correct"] is False
            elif row.number in {UNTESTED, UNAVAILABLE}:
                assert row.result["correct"] == (row.result["answer"] == row.reference)
            elif verdict:
                assert row.result["correct"] == (verdict["outcome"] == "passed")
    tried = {row.number: row.result["correct"] for row in judged(ended, TRAIN, "rationalize")}
    assert tried[IMPOSSIBLE] is False
    assert any(tried.values())


def test_answers_are_exported_with_their_verdicts(ended: Ended) -> None:
    for row in ended.home.export(ended.run, "answers"):
        assert (row["execution"] is None) == (row["row"] == UNTESTED)
        assert row["execution"] != "error" or row["execution_detail"]


def test_run_without_sandbox_does_not_start(ended: Ended, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    command = [bubblewrap(), "--dev-bind", "/", "/", "--unshare-user", "--disable-userns",
               str(STARMILL), "run", str(ended.experiment), "--local"]  # fmt: skip
    done = subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False)
    [line] = done.stderr.splitlines()
    assert line.startswith("starmill: no sandbox for model-written code: bwrap: ")
    assert (done.returncode, home.json("runs")) == (2, {"runs": []})


def test_execution_without_tests_is_refused(ended: Ended, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", train=2, test=2)
    experiment = write_experiment(data, "http://127.0.0.1:9/v1", judge={"execution": True})
    lines = Home(tmp_path / "home").starmill("run", experiment, "--local", expect=2).stderr.splitlines()
    assert len(lines) == 1
    assert "dataset.tests: no test row has tests, and judge.execution needs them" in lines[0]
